"""A segmentation model that learns from its own labels of unlabelled images, made by the average of its weights."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from correspondence_losses._distributed import gather_across_ranks
from correspondence_losses.functional import masked_consistency_loss, segment_vote
from correspondence_losses.reference.host_copy import HostCopy
from correspondence_losses.reference.models.segmentation import SegmentationModel

__all__ = ["PseudoLabelCollapseError", "SelfTrainingModel", "SelfTrainingPlan", "Teacher", "class_thresholds"]

_COLLAPSED_BATCHES = 50


class Teacher(Protocol):
    """An average of a model's weights, such as the engine's ``WeightAverage``."""

    num_updates: int

    def applied(self) -> AbstractContextManager[None]:
        """Let the model have the averaged weights inside."""


class PseudoLabelCollapseError(RuntimeError):
    """The pseudo labels show almost nothing but background."""


@dataclass(frozen=True, kw_only=True)
class SelfTrainingPlan:
    """What is learnt from pseudo labels.

    Args:
        pseudo_weight: Weight of the losses on pseudo labels; 0 trains on labelled images alone.
        mask_weight: Weight, among them, of the consistency of images with hidden blocks (MIC); 0 does without.
        mask_block: Side of a hidden block in pixels.
        mask_ratio: Probability that a block is hidden.
        votes: Let the segments of each unlabelled image vote for its pseudo labels.
        threshold: Probability above which the teacher is sure of a pixel.
        class_thresholds: Lower the threshold of classes that the teacher is less sure of.
        rare_class_temperature: Of the drawing of labelled images by class, so that rare classes come as often as
            others; 0 draws all images alike.
        supervised_epochs: Epochs on labelled images alone, before the first pseudo labels.
        least_objects: Stop where the pseudo labels show less than this part of the objects that the labels show, for
            50 batches in a row: they have collapsed to the background. 0 goes on.
    """

    pseudo_weight: float = 1.0
    mask_weight: float = 0.0
    mask_block: int = 64
    mask_ratio: float = 0.7
    votes: bool = False
    threshold: float = 0.968
    class_thresholds: bool = True
    rare_class_temperature: float = 0.01
    supervised_epochs: int = 2
    least_objects: float = 0.02


class SelfTrainingModel(SegmentationModel):
    r"""The model of table 4.4, trained on pseudo labels too (DACS and MIC, with votes of segments).

    The loss is that of :class:`SegmentationModel`, plus

    .. math:: \lambda \left( \mathcal{L}_\text{mix} + \lambda_\text{mask} \mathcal{L}_\text{mask} \right)

    with λ the ``pseudo_weight`` and λ_mask the ``mask_weight``, once the teacher was averaged over
    ``supervised_steps``. The teacher is the average of the weights; it predicts the unlabelled images, and with
    ``votes`` the segments of each image vote. :math:`\mathcal{L}_\text{mix}` is the
    cross-entropy of images with pasted classes (:func:`~correspondence_losses.functional.class_mix`), at the pasted
    pixels and where the teacher is sure, over all pixels; a pixel is sure above the threshold of its class
    (:func:`class_thresholds`). :math:`\mathcal{L}_\text{mask}` is
    :func:`~correspondence_losses.functional.masked_consistency_loss` of images with hidden blocks.

    Args:
        segmentation: Arguments of :class:`SegmentationModel`.
        plan: What is learnt from pseudo labels.
        supervised_steps: Steps before the first of them.

    Attributes:
        teacher: The average of the weights. Without it the model can predict, and not train on pseudo labels.
    """

    collapsed_batches: Tensor

    def __init__(self, *segmentation: Any, plan: SelfTrainingPlan, supervised_steps: int, **settings: Any) -> None:
        super().__init__(*segmentation, **settings)
        self.plan = plan
        self.supervised_steps = supervised_steps
        self.teacher: Teacher | None = None
        self._counted: HostCopy | None = None
        self.register_buffer("collapsed_batches", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the loss terms of a batch by name; ``"loss"`` is to be minimised.

        All images, labelled, unlabelled, mixed and masked, go through the network as one batch.

        Raises:
            PseudoLabelCollapseError: The pseudo labels have collapsed to the background.
        """
        teacher = self.teacher
        if teacher is None:
            raise RuntimeError("the model has no teacher to train with")
        names = list(self.seen_images)
        pseudo: Tensor | None = None
        if teacher.num_updates >= self.supervised_steps:
            pseudo = self._pseudo_probabilities(batch, teacher)
            names += ["mixed_image"] if self.plan.mask_weight == 0 else ["mixed_image", "masked_image"]
        logits, features = self._logits_and_features(torch.cat([batch[name] for name in names]))
        terms = self.losses(batch, logits, features)
        if pseudo is None:  # the terms that a run logs are the same from its first step on
            return terms | dict.fromkeys(self._pseudo_terms, torch.zeros_like(terms["loss"]).detach())
        of_pseudo = self._pseudo_losses(dict(zip(names, logits.chunk(len(names)), strict=True)), batch, pseudo)
        added = of_pseudo["mixed"] + (self.plan.mask_weight * of_pseudo["masked"] if self.plan.mask_weight > 0 else 0)
        return terms | of_pseudo | {"loss": terms["loss"] + self.plan.pseudo_weight * added}

    @property
    def _pseudo_terms(self) -> list[str]:
        terms = ["mixed", "sure", "pseudo_objects", "label_objects"]
        return terms if self.plan.mask_weight == 0 else [*terms, "masked"]

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # weights that are exchanged cannot be followed
    @torch.no_grad()
    def _pseudo_probabilities(self, batch: Mapping[str, Any], teacher: Teacher) -> Tensor:
        """Return the teacher's class probabilities (b, c, H, W) of the unlabelled images, after the vote."""
        training = self.training
        self.eval()
        with teacher.applied():
            probabilities = self.predict(batch["plain_image"]).float().softmax(1)
        self.train(training)
        if self.plan.votes:
            probabilities = segment_vote(probabilities, batch["segments"], batch["num_segments"]).probabilities
        return probabilities

    def _pseudo_losses(
        self, logits: Mapping[str, Tensor], batch: Mapping[str, Any], probabilities: Tensor
    ) -> dict[str, Tensor]:
        label, pasted = batch["label"], batch["pasted"]
        confidence, classes = probabilities.max(1)
        pseudo_objects, label_objects = _means_of_ranks((classes > 0), (label > 0))
        self._check_collapse(pseudo_objects, label_objects)
        sure = confidence > self._thresholds(confidence, classes, probabilities.shape[1])[classes]
        mixed = self._at_loss_stride(torch.where(pasted, label, classes))
        counted = self._at_loss_stride(pasted | sure)
        losses = F.cross_entropy(self._at_size(logits["mixed_image"], mixed), mixed, reduction="none")
        terms = {
            "mixed": (counted * losses).mean(),
            "sure": sure.float().mean(),
            "pseudo_objects": pseudo_objects,
            "label_objects": label_objects,
        }
        if self.plan.mask_weight > 0:
            seen = self._at_loss_stride(probabilities.movedim(1, -1)).movedim(-1, 1)
            masked = self._at_size(logits["masked_image"], seen)
            terms["masked"] = masked_consistency_loss(masked, seen, threshold=self.plan.threshold)
        return terms

    def _thresholds(self, confidence: Tensor, classes: Tensor, num_classes: int) -> Tensor:
        if not self.plan.class_thresholds:
            return confidence.new_full((num_classes,), self.plan.threshold)
        return class_thresholds(confidence, classes, num_classes, self.plan.threshold)

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # it reads values
    def _check_collapse(self, pseudo_objects: Tensor, label_objects: Tensor) -> None:
        """Count batches whose pseudo labels show too little, and stop if the call before this one found too many."""
        counted = self._counted
        collapsed = pseudo_objects < self.plan.least_objects * label_objects
        self.collapsed_batches.copy_((self.collapsed_batches + 1) * collapsed)
        self._counted = HostCopy(torch.stack([self.collapsed_batches.float(), pseudo_objects, label_objects]))
        if counted is None:
            return
        batches, of_pseudo, of_labels = counted.read()
        if batches >= _COLLAPSED_BATCHES:
            raise PseudoLabelCollapseError(
                f"the pseudo labels have collapsed: for {_COLLAPSED_BATCHES} batches they showed less than "
                f"{self.plan.least_objects:.0%} of the objects that the labels show (background "
                f"{1 - of_pseudo:.2%} of the pseudo labels, {1 - of_labels:.2%} of the labels). More "
                "supervised_epochs, class_thresholds, rare_class_temperature or a lower pseudo_weight help; "
                "least_objects 0 turns this check off"
            )

    def _at_size(self, logits: Tensor, like: Tensor) -> Tensor:
        return F.interpolate(logits.float(), size=like.shape[-2:], mode="bilinear", align_corners=False)


@torch.no_grad()
def class_thresholds(confidence: Tensor, classes: Tensor, num_classes: int, threshold: float) -> Tensor:
    r"""Return a threshold for each class, lower where the teacher is less sure of it.

    .. math:: \tau_c = \tau \frac{m_c}{\max_{c'} m_{c'}}

    with the mean confidence m of the pixels of each class, over the batch of all ranks. A class that no pixel has gets
    τ.

    Args:
        confidence: The probability of each pixel's class, of any shape.
        classes: The classes, as ``confidence``, integers.
        num_classes: Number of classes.
        threshold: τ.

    Source:
        Wang et al., "FreeMatch: Self-adaptive Thresholding for Semi-supervised Learning", 2023, eq. 9, over a batch
        instead of a moving average, and with a constant τ.
    """
    members = F.one_hot(classes.flatten(), num_classes).to(torch.float64)
    sums = confidence.flatten().double() @ members
    counts = members.sum(0)
    sums, counts = gather_across_ranks(torch.stack((sums, counts))[None]).sum(0)
    means = sums / counts.clamp(min=1)
    means = torch.where(counts > 0, means, means.max())
    return (threshold * means / means.max()).to(confidence.dtype)


@torch.no_grad()
def _means_of_ranks(*values: Tensor) -> Tensor:
    """Return the mean of each tensor over all ranks, which have as many values."""
    return gather_across_ranks(torch.stack([value.float().mean() for value in values])[None]).mean(0)
