"""RefineNet with its feature maps aligned between two domains (chapter 3)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from correspondence_losses.blocks import HeadOutput, MultiLevelDiscriminator, RefineNet
from correspondence_losses.losses import LSGANLoss, MaskedL2Loss
from correspondence_losses.reference.models.backbone import Backbone
from correspondence_losses.reference.models.heads import create_head

__all__ = ["LEVELS", "FrameLevelModel", "FrameLevelPlan"]

LEVELS = {16: 2, 8: 1, 4: 0}
"""The maps that can be aligned: by the stride of each, its place in RefineNet's pyramid."""

_HALVINGS = {16: 1, 8: 2, 4: 3}
"""How often a discriminator halves each, so that the patches of all have one size in the image."""


@dataclass(frozen=True, kw_only=True)
class FrameLevelPlan:
    """What is aligned, and how strongly.

    Args:
        paired: The labelled images are renders of the unlabelled frames' poses, with the labels of the renders: of the
            real frames the poses are used, and no label. Else they are those of the split ``labelled``.
        levels: The maps that are aligned, of 16, 8 and 4: that at 1/16 of the image's size, and so on.
        l2_weight: Weight of the distance of eq. 3.1, for paired images; 0 does without.
        adversarial_weight: Weight of the adversarial loss of sec. 3.2 on the network; 0 does without.
        decoder_channels: Width of RefineNet.
    """

    paired: bool = True
    levels: tuple[int, ...] = (16, 8, 4)
    l2_weight: float = 0.0
    adversarial_weight: float = 1.0
    decoder_channels: int = 256


class FrameLevelModel(nn.Module):
    """RefineNet over a backbone, with the losses of equation 3.1 and of section 3.2.

    Args:
        backbone: Returns four feature maps, at 1/4, 1/8, 1/16 and 1/32 of the image, or a plain ViT's one.
        num_classes: Classes, background included.
        plan: What is aligned.
    """

    def __init__(self, backbone: Backbone, num_classes: int, plan: FrameLevelPlan) -> None:
        super().__init__()
        self.backbone = backbone
        self.plan = plan
        self.refinenet = create_head(RefineNet, backbone, num_classes, plan.decoder_channels)
        self.l2 = MaskedL2Loss()
        self.lsgan = LSGANLoss()
        self.discriminator = None
        if plan.adversarial_weight > 0:
            widths = [plan.decoder_channels] * len(plan.levels)
            halvings = [_HALVINGS[level] for level in plan.levels]
            self.discriminator = MultiLevelDiscriminator(widths, num_downsamples=halvings)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss terms of a batch by name; ``"loss"`` is to be minimised.

        The labelled images are the source of the game: the features of the unlabelled ones are to pass for theirs,
        since it is on theirs that the classifier learns. Each player's gradient reaches that player alone.
        """
        images, label = batch["image"], batch["label"]
        aligned = self.plan.l2_weight > 0 or self.discriminator is not None
        if aligned:  # both domains go through the network together
            images = torch.cat([images, batch["unlabelled_image"]])
        logits, maps = self._logits_and_maps(images)
        segmentation = F.cross_entropy(logits[: len(label)].float(), label)
        terms = {"loss": segmentation, "segmentation": segmentation}
        source, target = ([level[part] for level in maps] for part in (slice(len(label)), slice(len(label), None)))
        if self.plan.l2_weight > 0:
            distances = self.l2.terms(target, source, label).levels
            terms |= {f"l2_{level}": distance for level, distance in zip(self.plan.levels, distances, strict=True)}
            terms["loss"] = terms["loss"] + self.plan.l2_weight * torch.stack(distances).sum()
        if self.discriminator is not None:
            generator, discriminator = self.lsgan.terms(self.discriminator, source, target)
            terms |= {"generator": generator, "discriminator": discriminator}
            terms["loss"] = terms["loss"] + self.plan.adversarial_weight * generator + discriminator
        return terms

    def predict(self, images: Tensor) -> Tensor:
        """Return the logits (b, num_classes, H, W) of images (b, 3, H, W)."""
        return self._logits_and_maps(images)[0]

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the maps (b, decoder_channels, h, w) of the levels that are aligned."""
        return self._logits_and_maps(images)[1]

    def _logits_and_maps(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        output: HeadOutput = self.refinenet(self.backbone(images), (images.shape[-2], images.shape[-1]))
        return output.logits, [output.pyramid[LEVELS[level]] for level in self.plan.levels]
