"""The losses on pseudo labels, term by term; the thresholds by class; and the stop where pseudo labels collapse."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from correspondence_losses.blocks import FPNFusionHead, SAMPoolingBlock
from correspondence_losses.functional import class_mix, mask_blocks, segment_vote
from correspondence_losses.reference.engine.averaging import WeightAverage
from correspondence_losses.reference.models.backbone import Backbone
from correspondence_losses.reference.models.self_training import (
    PseudoLabelCollapseError,
    SelfTrainingModel,
    SelfTrainingPlan,
    class_thresholds,
)


def create(
    *, pooling: bool = False, head_stride: int = 1, supervised_steps: int = 0, **changes: Any
) -> SelfTrainingModel:
    torch.manual_seed(0)
    backbone = Backbone("convnext_atto", pretrained=False)
    head = FPNFusionHead(backbone.channels, 3, fpn_channels=4)
    settings: dict[str, Any] = {
        "pseudo_weight": 0.7,
        "mask_weight": 0.3,
        "threshold": 0.34,
        "votes": True,
        "least_objects": 0.0,
    }
    model = SelfTrainingModel(
        backbone,
        head,
        SAMPoolingBlock(head.out_channels) if pooling else None,
        sam_weight=0.05,
        head_stride=head_stride,
        frozen_backbone=False,
        plan=SelfTrainingPlan(**{**settings, **changes}),
        supervised_steps=supervised_steps,
    ).train()
    model.teacher = WeightAverage(model, momentum=0.9)
    with torch.no_grad():  # the student is not its teacher
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    image, unlabelled = torch.rand(2, 2, 3, 32, 32, generator=generator)
    label = torch.randint(0, 3, (2, 32, 32), generator=generator)
    mixed = class_mix(image, label, unlabelled, torch.zeros_like(label), 3, generator=generator)
    return {
        "image": image,
        "label": label,
        "unlabelled_image": unlabelled,
        "plain_image": 0.9 * unlabelled,
        "segments": torch.randint(0, 5, (2, 8, 8), generator=generator).repeat_interleave(4, 1).repeat_interleave(4, 2),
        "num_segments": 5,
        "mixed_image": mixed.images,
        "pasted": mixed.pasted,
        "masked_image": mask_blocks(unlabelled, 8, generator=generator).images,
    }


@pytest.mark.parametrize("votes", [False, True])
def test_the_losses_are_those_of_the_equations(votes: bool) -> None:
    model = create(votes=votes)
    given = batch()
    assert isinstance(model.teacher, WeightAverage)
    with torch.no_grad():
        model.eval()
        with model.teacher.applied():
            probabilities = model.predict(given["plain_image"]).softmax(1)
        if votes:
            probabilities = segment_vote(probabilities, given["segments"]).probabilities
        confidence, classes = probabilities.max(1)
        threshold = confidence.median().item()
    model.plan = replace(model.plan, threshold=threshold)
    terms = model.train()(given)
    assert model.training
    model.eval()
    with torch.no_grad():
        means = [confidence[classes == c].mean().item() if (classes == c).any() else None for c in range(3)]
        top = max(mean for mean in means if mean is not None)
        thresholds = torch.tensor([threshold if mean is None else threshold * mean / top for mean in means])
        sure = confidence > thresholds[classes]
        assert 0 < sure.float().mean() < 1, "the threshold decides nothing"

        logs = model.predict(given["mixed_image"]).log_softmax(1)
        total = 0.0
        for i in range(2):
            for y in range(32):
                for x in range(32):
                    pasted = given["pasted"][i, y, x]
                    label = given["label"][i, y, x] if pasted else classes[i, y, x]
                    if pasted or sure[i, y, x]:
                        total -= logs[i, label, y, x].item()
        logs = model.predict(given["masked_image"]).log_softmax(1)
        losses = -logs.gather(1, classes[:, None])[:, 0].mean((1, 2))
        masked = ((confidence > threshold).float().mean((1, 2)) * losses).mean()
        segmentation = F.cross_entropy(model.predict(given["image"]), given["label"])
    assert terms["mixed"].item() == pytest.approx(total / (2 * 32 * 32), rel=1e-4)
    torch.testing.assert_close(terms["masked"], masked)
    torch.testing.assert_close(terms["segmentation"], segmentation)
    torch.testing.assert_close(terms["sure"], sure.float().mean())
    torch.testing.assert_close(terms["pseudo_objects"], (classes > 0).float().mean())
    torch.testing.assert_close(terms["label_objects"], (given["label"] > 0).float().mean())
    torch.testing.assert_close(terms["loss"], segmentation + 0.7 * (terms["mixed"] + 0.3 * masked))


def test_at_a_stride_losses_are_of_the_centres_and_pooling_adds_its_terms() -> None:
    model = create(head_stride=4, pooling=True)
    given = batch()
    terms = model(given)
    parts = terms["segmentation"] + 0.05 * (terms["sam_invariance"] + terms["sam_separation"])
    torch.testing.assert_close(terms["loss"], parts + 0.7 * (terms["mixed"] + 0.3 * terms["masked"]))
    assert terms["mixed"] > 0
    terms["loss"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_labelled_images_alone_come_first() -> None:
    model = create(supervised_steps=1)
    given = batch()
    terms = model(given)
    assert torch.equal(terms["loss"], terms["segmentation"])
    assert terms["mixed"] == terms["masked"] == 0
    assert isinstance(model.teacher, WeightAverage)
    model.teacher.update()
    later = model(given)
    assert later["mixed"] > 0
    assert list(terms) == list(later), "a run's log has one header"


def biased(model: SelfTrainingModel, objects: bool) -> None:
    """Let the teacher see background everywhere, or objects."""
    assert isinstance(model.teacher, WeightAverage)
    name = next(n for n, p in model.named_parameters() if n.startswith("head.") and p.shape == (3,))
    with torch.no_grad():
        model.teacher._average[name] += torch.tensor([-1e3, 0.0, 0.0] if objects else [1e3, 0.0, 0.0])


def test_a_collapse_to_the_background_stops_with_its_name() -> None:
    model = create(least_objects=0.1, pseudo_weight=1.0)
    biased(model, objects=False)
    given = batch()
    for count in range(1, 51):
        model(given)
        assert model.collapsed_batches == count
    with pytest.raises(PseudoLabelCollapseError, match=r"the pseudo labels have collapsed: for 50 batches .*100\.00%"):
        model(given)


def test_objects_in_between_count_anew_and_the_count_is_in_the_state() -> None:
    model = create(least_objects=0.1)
    biased(model, objects=False)
    given = batch()
    model(given)
    assert model.state_dict()["collapsed_batches"] == 1
    biased(model, objects=True)
    biased(model, objects=True)
    model(given)
    assert model.collapsed_batches == 0


def test_thresholds_by_class() -> None:
    confidence = torch.tensor([[0.9, 0.7, 0.4, 0.6]], dtype=torch.float64)
    classes = torch.tensor([[0, 0, 2, 2]])
    thresholds = class_thresholds(confidence, classes, 4, 0.8)
    assert thresholds.tolist() == pytest.approx([0.8, 0.8, 0.8 * 0.5 / 0.8, 0.8])  # classes 1 and 3 have no pixel


def test_without_a_teacher_it_predicts_and_does_not_train() -> None:
    model = create()
    model.teacher = None
    assert model.predict(batch()["image"]).shape == (2, 3, 32, 32)
    with pytest.raises(RuntimeError, match="no teacher"):
        model(batch())
