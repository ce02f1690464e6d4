"""The model of table 4.4: one network for labelled and unlabelled images, at the head's stride."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from correspondence_losses.blocks import FPNFusionHead, LinearHead, SAMPoolingBlock
from correspondence_losses.reference.models.backbone import Backbone
from correspondence_losses.reference.models.segmentation import SegmentationModel


def create(
    backbone: Backbone,
    *,
    head: str = "fpn",
    sam_weight: float = 1.0,
    head_stride: int = 1,
    frozen_backbone: bool = False,
) -> SegmentationModel:
    torch.manual_seed(0)
    channels = backbone.channels
    made = FPNFusionHead(channels, 3, fpn_channels=4) if head == "fpn" else LinearHead(channels, 3)
    pooling = SAMPoolingBlock(made.out_channels) if sam_weight else None
    return SegmentationModel(
        backbone, made, pooling, sam_weight=sam_weight, head_stride=head_stride, frozen_backbone=frozen_backbone
    )


def two_domains() -> dict[str, Tensor]:
    """Labelled images, and unlabelled ones of quite other colours."""
    generator = torch.Generator().manual_seed(1)
    return {
        "image": 0.3 * torch.rand(2, 3, 32, 32, generator=generator),
        "label": torch.randint(0, 3, (2, 32, 32), generator=generator),
        "unlabelled_image": 0.7 + 0.3 * torch.rand(2, 3, 32, 32, generator=generator),
        "segments": torch.randint(0, 5, (2, 32, 32), generator=generator),
        "num_segments": 5,
    }


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "convnext_atto"])
@pytest.mark.parametrize("head", ["fpn", "linear"])
def test_both_domains_go_through_the_network_that_predicts(name: str, head: str) -> None:
    """With frozen statistics, or without any, training computes on both domains what prediction computes."""
    model = create(Backbone(name, pretrained=False, batch_norm="frozen"), head=head).train()
    batch = two_domains()
    terms = model(batch)
    model.eval()
    with torch.no_grad():
        segmentation = F.cross_entropy(model.predict(batch["image"]), batch["label"])
        assert model.pooling is not None
        projection = model.project(batch["unlabelled_image"])
        expected = model.pooling.criterion.terms(projection, batch["segments"])
    torch.testing.assert_close(terms["segmentation"], segmentation)
    torch.testing.assert_close((terms["sam_invariance"], terms["sam_separation"]), tuple(expected))


def test_frozen_statistics_stay_as_they_are_and_their_scales_are_trained() -> None:
    model = create(Backbone("mobilenetv3_small_050", pretrained=False, batch_norm="frozen")).train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model(two_domains())["loss"].backward()
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, before[name], rtol=0, atol=0)
    scale = model.backbone.network.bn1.weight
    assert scale.requires_grad
    assert scale.grad is not None


def test_batch_statistics_are_those_of_both_domains_together() -> None:
    model = create(Backbone("mobilenetv3_small_050", pretrained=False, batch_norm="batch")).train()
    batch = two_domains()
    model(batch)
    running = model.backbone.network.bn1.running_mean.clone()
    alone = create(Backbone("mobilenetv3_small_050", pretrained=False, batch_norm="batch")).train()
    alone.load_state_dict(create(Backbone("mobilenetv3_small_050", pretrained=False)).state_dict())
    alone.backbone.load_state_dict(
        {**model.backbone.state_dict(), **{k: v for k, v in alone.backbone.state_dict().items() if "running" in k}}
    )
    alone.backbone(torch.cat([batch["image"], batch["unlabelled_image"]]))
    torch.testing.assert_close(alone.backbone.network.bn1.running_mean, running)


@pytest.mark.parametrize("stride", [2, 4])
def test_losses_are_taken_at_twice_the_head_s_resolution(stride: int) -> None:
    model = create(Backbone("convnext_atto", pretrained=False), head_stride=stride).train()
    batch = two_domains()
    terms = model(batch)
    with torch.no_grad():
        logits = model.head(model.backbone(batch["image"]), (32 // stride, 32 // stride)).logits
        size = (64 // stride, 64 // stride)
        cell = stride // 2
        centres = batch["label"].unfold(1, cell, cell).unfold(2, cell, cell)[..., cell // 2, cell // 2]
        expected = F.cross_entropy(F.interpolate(logits, size=size, mode="bilinear"), centres)
    torch.testing.assert_close(terms["segmentation"], expected)
    assert model.predict(batch["image"]).shape == (2, 3, 32, 32)
    assert model.project(batch["unlabelled_image"]).shape == (2, 3, 32, 32)


def test_a_frozen_backbone_gets_no_gradient() -> None:
    model = create(Backbone("convnext_atto", pretrained=False), frozen_backbone=True, sam_weight=0.0).train()
    model(two_domains())["loss"].backward()
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    assert all(parameter.grad is not None for parameter in model.head.parameters())
