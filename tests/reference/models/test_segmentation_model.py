"""The model of table 4.4."""

import copy

import torch

from correspondence_losses.reference.models.backbone import create_backbone
from correspondence_losses.reference.models.segmentation import SegmentationModel


def test_pooled_images_are_normalised_as_at_prediction_and_leave_the_statistics_alone() -> None:
    backbone, channels = create_backbone("mobilenetv3_small_050", pretrained=False)
    torch.manual_seed(0)
    model = SegmentationModel(
        backbone,
        channels,
        num_classes=3,
        head="fpn",
        fpn_channels=4,
        frozen_backbone=False,
        sam_weight=1.0,
        proj_channels=3,
        beta=0.5,
    )
    batch = {
        "image": torch.randn(2, 3, 32, 32),
        "label": torch.randint(0, 3, (2, 32, 32)),
        "unlabelled_image": 5 + 3 * torch.randn(2, 3, 32, 32),
        "segments": torch.randint(0, 5, (2, 32, 32)),
    }
    other = copy.deepcopy(model)
    terms = model(batch)
    other._logits_and_features(batch["image"], (32, 32))
    for ours, theirs in zip(model.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert all(module.training for module in model.modules())

    expected = model.eval().pooling.criterion.terms(model.project(batch["unlabelled_image"]), batch["segments"])
    torch.testing.assert_close((terms["sam_invariance"], terms["sam_separation"]), tuple(expected))
