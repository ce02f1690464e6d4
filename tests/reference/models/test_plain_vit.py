"""Plain ViTs of timm: their maps, sizes and tokens, their weights, their blocks as stages, and heads over them."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from correspondence_losses.blocks import FPNFusionHead, LinearHead, RefineNet
from correspondence_losses.reference.engine.optimizer import parameter_rates
from correspondence_losses.reference.experiments import SegmentationSettings
from correspondence_losses.reference.models.backbone import Backbone
from correspondence_losses.reference.models.frame_level import FrameLevelModel, FrameLevelPlan
from correspondence_losses.reference.models.heads import PyramidHead, create_head
from correspondence_losses.reference.models.plain_vit import is_plain_vit
from correspondence_losses.reference.models.weights import WeightsError, read_weights
from correspondence_losses.reference.runs.command_line import preset_settings

TINY = "test_vit"
# With class and register tokens, learned and rotary positions, patches of 16 and of 14, by timm's own names.
ENCODERS = [
    (TINY, 16),
    ("test_vit3", 16),
    ("deit_tiny_patch16_224", 16),
    ("vit_small_patch14_dinov2", 14),
    ("vit_small_patch14_reg4_dinov2", 14),
    ("vit_small_patch16_dinov3", 16),
]


@pytest.mark.parametrize(("name", "patch"), ENCODERS)
def test_an_encoder_takes_any_size_and_returns_one_map(name: str, patch: int) -> None:
    assert is_plain_vit(name)
    torch.manual_seed(0)
    backbone = Backbone(name, pretrained=False).eval()
    assert backbone.reduction == [patch]
    with torch.no_grad():
        (feature_map,) = backbone(torch.rand(2, 3, 3 * patch - 1, 2 * patch))
    assert feature_map.shape == (2, *backbone.channels, 3, 2)
    assert feature_map.isfinite().all()


def test_hierarchical_backbones_are_none() -> None:
    assert not any(is_plain_vit(name) for name in ("convnext_atto", "resnet10t", "tf_efficientnet_lite0"))


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "vit_small_patch16_dinov3"])
def test_the_map_is_that_of_the_whole_model_without_its_class_and_register_tokens(name: str) -> None:
    torch.manual_seed(0)
    whole: Any = timm.create_model(name, num_classes=0).eval()
    size = whole.patch_embed.img_size
    backbone = Backbone(name, pretrained=False).eval()
    backbone.network.model.load_state_dict(whole.state_dict())
    images = torch.rand(1, 3, *size)
    with torch.no_grad():
        tokens = whole.forward_features((images - backbone.mean) / backbone.std)[:, whole.num_prefix_tokens :]
        (feature_map,) = backbone(images)
    torch.testing.assert_close(feature_map.flatten(2).transpose(1, 2), tokens)


def test_images_between_two_multiples_of_the_patch_are_resized_so_that_the_map_covers_them() -> None:
    backbone = Backbone(TINY, pretrained=False).eval()
    image = torch.rand(1, 3, 1, 30).expand(-1, -1, 40, -1)
    with torch.no_grad():
        resized = torch.nn.functional.interpolate(image, size=(48, 32), mode="bilinear", align_corners=False)
        torch.testing.assert_close(backbone(image)[0], backbone(resized)[0])


def test_stages_are_the_embedding_and_the_blocks_and_rates_decay_from_one_to_the_one_before() -> None:
    backbone = Backbone(TINY, pretrained=False, frozen_stages=2)
    stages, blocks = backbone.stages(), backbone.network.model.blocks
    assert [id(p) for stage in stages for p in stage] == [id(p) for p in backbone.network.parameters()]
    assert len(stages) == 1 + len(blocks) == 7
    assert {id(p) for p in blocks[0].parameters()} == {id(p) for p in stages[1]}
    assert {id(p) for p in blocks[5].parameters()} < {id(p) for p in stages[6]}  # and the last norm
    assert [all(p.requires_grad for p in stage) for stage in stages] == [False, False] + 5 * [True]
    rates = parameter_rates(backbone, stages, backbone_lr_scale=0.5, layer_decay=0.8)
    assert not any(name.startswith("network.model.blocks.0.") for name in rates)
    for index in range(1, 6):
        scale = rates[f"network.model.blocks.{index}.attn.qkv.weight"].lr_scale
        assert scale == pytest.approx(0.5 * 0.8 ** (5 - index))
    with pytest.raises(ValueError, match=r"frozen_stages must lie in \[0, 7\], got 8"):
        Backbone(TINY, pretrained=False, frozen_stages=8)


@pytest.mark.parametrize("name", [TINY, "test_vit3"])
def test_every_parameter_that_is_kept_gets_a_gradient(name: str) -> None:
    """Processes that train together wait for the gradient of each parameter."""
    for checkpointing in (False, True):
        backbone = Backbone(name, pretrained=False, activation_checkpointing=checkpointing)
        backbone(torch.rand(1, 3, 32, 48))[0].square().sum().backward()
        assert [name for name, p in backbone.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("head", [FPNFusionHead, RefineNet])
@pytest.mark.parametrize(("name", "scales"), [(TINY, (4, 2, 1, 0.5)), ("vit_small_patch14_dinov2", (4, 2, 1, 0.5))])
def test_heads_come_with_a_pyramid(head: Any, name: str, scales: tuple[float, ...]) -> None:
    backbone = Backbone(name, pretrained=False).eval()
    made = create_head(head, backbone, 5, 8)
    assert isinstance(made, PyramidHead)
    assert made.pyramid.scale_factors == scales
    with torch.no_grad():
        output = made(backbone(torch.rand(1, 3, 56, 70)), (56, 70))
    assert output.logits.shape == (1, 5, 56, 70)
    assert output.features.shape[1] == made.out_channels
    assert [level.shape[1] for level in output.pyramid] == list(made.pyramid_channels)
    assert isinstance(create_head(head, Backbone("resnet10t", pretrained=False), 5, 8), head)


def test_patches_of_8_make_the_same_strides() -> None:
    backbone = Backbone("vit_small_patch8_224", pretrained=False)
    head = create_head(FPNFusionHead, backbone, 5, 8)
    assert isinstance(head, PyramidHead)
    assert head.pyramid.scale_factors == (2, 1, 0.5, 0.25)


def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "image": torch.rand(2, 3, 32, 48, generator=generator),
        "label": torch.randint(0, 3, (2, 32, 48), generator=generator),
        "unlabelled_image": torch.rand(2, 3, 32, 48, generator=generator),
    }


@pytest.mark.parametrize(("preset", "head"), [("dinov3_frozen", PyramidHead), ("dinov3_linear", LinearHead)])
def test_the_frozen_rows_train_the_head_alone(preset: str, head: type[torch.nn.Module]) -> None:
    changes = {"backbone": TINY, "pretrained": False, "fpn_channels": 8}
    settings = preset_settings(preset, changes=changes)
    assert isinstance(settings, SegmentationSettings)
    model = settings.create_model(3).train()
    assert isinstance(model.head, head)
    assert not model.backbone.training
    model(batch())["loss"].backward()
    assert not any(parameter.requires_grad for parameter in model.backbone.parameters())
    assert all(parameter.grad is not None for parameter in model.head.parameters())
    assert set(parameter_rates(model, model.backbone.stages())) == {
        f"head.{n}" for n, _ in model.head.named_parameters()
    }


def test_refinenet_of_chapter_3_over_a_plain_vit() -> None:
    plan = FrameLevelPlan(l2_weight=1.0, adversarial_weight=0.0, decoder_channels=4)
    model = FrameLevelModel(Backbone(TINY, pretrained=False), 3, plan)
    terms = model(batch())
    assert terms["loss"].isfinite()
    assert [tuple(level.shape[-2:]) for level in model.features(batch()["image"])] == [(2, 3), (4, 6), (8, 12)]


def randomised(name: str) -> Any:
    torch.manual_seed(0)
    model: Any = timm.create_model(name)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.1)
    return model.eval()


@pytest.mark.parametrize("name", [TINY, "vit_small_patch16_dinov3"])
def test_weights_in_timm_s_layout(tmp_path: Path, name: str) -> None:
    whole = randomised(name)
    torch.save(whole.state_dict(), tmp_path / "weights.pth")
    backbone = Backbone(name, pretrained=True, weights=tmp_path / "weights.pth").eval()
    assert backbone.weights["layout"] == "timm"
    images = torch.rand(1, 3, *whole.patch_embed.img_size)
    with torch.no_grad():
        expected = whole.forward_features((images - backbone.mean) / backbone.std)[:, whole.num_prefix_tokens :]
        torch.testing.assert_close(backbone(images)[0].flatten(2).transpose(1, 2), expected)


def as_dinov2(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The official layout with registers: the class token has a position, and there is a mask token."""
    state = dict(state)
    state["pos_embed"] = torch.cat([torch.full_like(state["cls_token"], 0.25), state["pos_embed"]], dim=1)
    state["cls_token"] = state["cls_token"] - 0.25
    return {"register_tokens": state.pop("reg_token"), "mask_token": torch.zeros(1, 384), **state}


def as_dinov3(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The official layout: other names, a mask token, and the rotary periods as a buffer."""
    renamed = {}
    for key, tensor in state.items():
        for ours, theirs in ((".gamma_1", ".ls1.gamma"), (".gamma_2", ".ls2.gamma"), ("reg_token", "storage_tokens")):
            key = key.replace(ours, theirs)
        renamed[key] = tensor
    renamed["cls_token"] = renamed["cls_token"]
    return {**renamed, "mask_token": torch.zeros(1, 384), "rope_embed.periods": torch.ones(16)}


@pytest.mark.parametrize(
    ("name", "layout"), [("vit_small_patch14_reg4_dinov2", as_dinov2), ("vit_small_patch16_dinov3", as_dinov3)]
)
def test_official_layouts_of_foundation_encoders_are_converted(tmp_path: Path, name: str, layout: Any) -> None:
    state = randomised(name).state_dict()
    torch.save(layout(state), tmp_path / "weights.pth")
    found = read_weights(name, tmp_path / "weights.pth")
    assert found.source["layout"] == "converted by timm"
    assert found.tensors.keys() == state.keys()
    for key, tensor in state.items():
        torch.testing.assert_close(found.tensors[key], tensor)


def test_weights_of_another_encoder_are_refused(tmp_path: Path) -> None:
    torch.save(randomised(TINY).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="does not fit vit_small_patch16_dinov3"):
        read_weights("vit_small_patch16_dinov3", tmp_path / "weights.pth")
