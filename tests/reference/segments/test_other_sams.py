"""Segmenters of the rest of the SAM family: the real classes at random weights, as small as they go."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from segment_anything.utils.amg import remove_small_regions

from correspondence_losses.functional import paint_masks
from correspondence_losses.reference.data import ImageFolder
from correspondence_losses.reference.segments import (
    MaskGenerationSegmenter,
    MobileSAMSegmenter,
    SAM2Segmenter,
    SAMCheckpointError,
    presegment,
)
from correspondence_losses.reference.segments.mask_generation import largest_divisor

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
EVERY_MASK = {"points_per_side": 3, "pred_iou_thresh": -9.0, "stability_score_thresh": -1.0, "box_nms_thresh": 0.99}


def tiny_sam() -> tuple[Any, Any]:
    transformers = pytest.importorskip("transformers")
    config = transformers.SamConfig(
        vision_config={
            "hidden_size": 16, "output_channels": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "image_size": 64, "patch_size": 16, "mlp_dim": 16, "global_attn_indexes": [0], "num_pos_feats": 8,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": 64, "patch_size": 16, "mask_input_channels": 4},
        mask_decoder_config={
            "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_dim": 16,
            "iou_head_hidden_dim": 8,
        },
    )  # fmt: skip
    size = {"longest_edge": 64}
    processor = transformers.SamImageProcessor(size=size, pad_size={"height": 64, "width": 64})
    return transformers.SamModel(config), transformers.SamProcessor(processor)


def of_hiera(transformers: Any, family: str) -> tuple[Any, Any]:
    """SAM 2: a backbone of the real kind with one block a stage."""
    backbone = {
        "hidden_size": 8, "num_attention_heads": 1, "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64], "num_attention_heads_per_stage": [1, 2, 4, 8],
        "window_size_per_stage": [8, 4, 8, 4], "global_attention_blocks": [3], "image_size": [128, 128],
        "window_positional_embedding_background_size": [7, 7],
    }  # fmt: skip
    vision = {
        "backbone_config": {"model_type": "sam2_hiera_det_model", **backbone},
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        "fpn_hidden_size": 32,
    }
    config = transformers.Sam2Config(vision_config=vision, **decoder())
    return transformers.Sam2Model(config), processor_of(transformers, "Sam2", 128, 32)


def of_sam3(transformers: Any, family: str) -> tuple[Any, Any]:
    """SAM 3's tracker, which takes the points."""
    backbone = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": 112, "patch_size": 14, "pretrain_image_size": 112, "window_size": 4, "global_attn_indexes": [0],
    }  # fmt: skip
    vision = {
        "backbone_config": {"model_type": "sam3_vit_model", **backbone},
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        "fpn_hidden_size": 32,
    }
    config = transformers.Sam3TrackerConfig(vision_config=vision, **decoder(image_size=112, patch_size=14))
    return transformers.Sam3TrackerModel(config), processor_of(transformers, "Sam3", 112, 32)


def decoder(image_size: int = 128, patch_size: int = 16) -> dict[str, Any]:
    return {
        "prompt_encoder_config": {
            "hidden_size": 32, "image_size": image_size, "patch_size": patch_size, "mask_input_channels": 4,
        },
        "mask_decoder_config": {
            "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_dim": 16,
            "iou_head_hidden_dim": 8, "iou_head_depth": 2,
        },
    }  # fmt: skip


def processor_of(transformers: Any, family: str, size: int, mask: int) -> Any:
    images = getattr(transformers, f"{family}ImageProcessor", None) or getattr(
        transformers, f"{family}ImageProcessorFast"
    )
    whole = getattr(transformers, "Sam3TrackerProcessor" if family == "Sam3" else f"{family}Processor")
    square = {"height": size, "width": size}
    return whole(images(size=square, mask_size={"height": mask, "width": mask}))


FAMILIES = {
    "SamModel": lambda _: tiny_sam(),
    "Sam2Model": lambda t: of_hiera(t, "Sam2"),
    "Sam3TrackerModel": lambda t: of_sam3(t, "Sam3"),
}


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of transformers at random weights, as ``save_pretrained`` writes it."""
    transformers = pytest.importorskip("transformers")
    if not hasattr(transformers, request.param):
        pytest.skip(f"this transformers has no {request.param}")
    torch.manual_seed(0)
    path: Path = tmp_path_factory.mktemp("hub") / request.param
    for part in FAMILIES[request.param](transformers):
        part.save_pretrained(path)
    return path


def test_the_pipeline_of_transformers_makes_masks_with_the_thesis_s_settings(folder: Path) -> None:
    segmenter = MaskGenerationSegmenter(str(folder), device="cpu", min_mask_region_area=10, **EVERY_MASK)
    masks = segmenter(IMAGE)
    assert len(masks) > 1
    assert all(mask["segmentation"].shape == (48, 64) and mask["segmentation"].dtype == bool for mask in masks)
    assert all(mask["area"] == mask["segmentation"].sum() for mask in masks)
    assert paint_masks(masks, (48, 64)).max() >= 1
    for mask in masks:  # no island or hole of fewer pixels is left; of islands that are all smaller, the largest is
        for mode in ("holes", "islands") if mask["area"] >= 10 else ():
            assert not remove_small_regions(mask["segmentation"], 10, mode)[1]
    whole = MaskGenerationSegmenter(str(folder), device="cpu", min_mask_region_area=0, **EVERY_MASK)(IMAGE)
    assert sorted(mask["area"] for mask in whole) != sorted(mask["area"] for mask in masks)
    defaults = MaskGenerationSegmenter(str(folder), device="cpu").settings()
    assert (defaults["points_per_side"], defaults["min_mask_region_area"]) == (24, 1000)
    assert (defaults["pred_iou_thresh"], defaults["stability_score_thresh"]) == (0.88, 0.95)
    assert (defaults["model"], defaults["architecture"]) == (folder.name, folder.name)
    assert len(str(defaults["weights_sha256"])) == 64
    assert "transformers" in segmenter.versions()


def test_every_point_reaches_the_model_whatever_goes_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where points_per_batch does not divide the points, the pipeline itself has lost the last of them."""
    seen: list[int] = []
    areas = []
    for at_once in (1, 4, 64):
        segmenter = MaskGenerationSegmenter(
            str(folder), device="cpu", points_per_batch=at_once, min_mask_region_area=0, **EVERY_MASK
        )
        forward = segmenter._pipeline.model.forward

        def counted(*args: Any, forward: Any = forward, **inputs: Any) -> Any:
            seen.append(inputs["input_points"].shape[1])
            return forward(*args, **inputs)

        monkeypatch.setattr(segmenter._pipeline.model, "forward", counted)
        seen.clear()
        masks = segmenter(IMAGE)
        assert sum(seen) == 9, at_once
        areas.append(sorted(mask["area"] for mask in masks))
    assert areas[0] == areas[1] == areas[2]


@pytest.mark.parametrize(
    ("number", "at_most", "divisor"), [(576, 64, 64), (576, 100, 96), (625, 64, 25), (9, 4, 3), (7, 3, 1)]
)
def test_largest_divisor(number: int, at_most: int, divisor: int) -> None:
    assert largest_divisor(number, at_most) == divisor


def test_no_mask_is_good_enough(folder: Path) -> None:
    segmenter = MaskGenerationSegmenter(str(folder), device="cpu", points_per_side=2, pred_iou_thresh=1e9)
    assert segmenter(IMAGE) == []


def test_masks_of_transformers_are_cached_like_others(folder: Path, tmp_path: Path) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    segmenter = MaskGenerationSegmenter(str(folder), device="cpu", min_mask_region_area=10, **EVERY_MASK)
    folder_of = ImageFolder(tmp_path)
    cache = presegment(folder_of, folder_of.frames(), tmp_path / "cache", segmenter, progress=False)
    np.testing.assert_array_equal(cache.load("a.png"), paint_masks(segmenter(IMAGE), (48, 64)))
    settings = segmenter.settings()
    assert cache.record["identity"]["settings"] == settings
    assert (
        settings == MaskGenerationSegmenter(str(folder), device="cpu", min_mask_region_area=10, **EVERY_MASK).settings()
    )
    assert settings != MaskGenerationSegmenter(str(folder), device="cpu", points_per_side=3).settings()


def test_what_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(SAMCheckpointError, match="cannot be loaded for mask generation"):
        MaskGenerationSegmenter(str(tmp_path / "none"), device="cpu")
    with pytest.raises(ValueError, match="points_per_side must be at least 1, got 0"):
        MaskGenerationSegmenter(str(tmp_path), points_per_side=0)


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("sam2", "mobile_sam"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=r"needs mobile_sam: pip install 'git\+https://github.com/Chaoning"):
        MobileSAMSegmenter(tmp_path / "mobile_sam.pt")
    with pytest.raises(ModuleNotFoundError, match=r"needs sam2: pip install 'git\+https://github.com/facebookresearch"):
        SAM2Segmenter(tmp_path / "sam2.pt")


def test_mobile_sam_s_own_generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip("mobile_sam")
    modeling = pytest.importorskip("mobile_sam.modeling")

    def tiny(checkpoint: None = None) -> torch.nn.Module:
        torch.manual_seed(0)
        return modeling.Sam(
            image_encoder=modeling.TinyViT(
                img_size=1024, in_chans=3, num_classes=10, embed_dims=[8, 16, 16, 320], depths=[1, 1, 1, 1],
                num_heads=[1, 1, 1, 1], window_sizes=[7, 7, 14, 7], mlp_ratio=1.0,
            ),
            prompt_encoder=modeling.PromptEncoder(
                embed_dim=256, image_embedding_size=(64, 64), input_image_size=(1024, 1024), mask_in_chans=4
            ),
            mask_decoder=modeling.MaskDecoder(
                num_multimask_outputs=3, transformer_dim=256, iou_head_depth=2, iou_head_hidden_dim=8,
                transformer=modeling.TwoWayTransformer(depth=1, embedding_dim=256, num_heads=2, mlp_dim=16),
            ),
        )  # fmt: skip

    monkeypatch.setitem(package.sam_model_registry, "vit_t", tiny)
    torch.save(tiny().state_dict(), tmp_path / "mobile_sam.pt")
    segmenter = MobileSAMSegmenter(
        tmp_path / "mobile_sam.pt", device="cpu", **{**EVERY_MASK, "points_per_side": 2, "min_mask_region_area": 10}
    )
    masks = segmenter(IMAGE)
    assert paint_masks(masks, (48, 64)).max() >= 1
    assert set(segmenter.settings()) == {"checkpoint_sha256", *segmenter.generator_settings}
    with pytest.raises(SAMCheckpointError, match=r"none\.pt: is missing"):
        MobileSAMSegmenter(tmp_path / "none.pt", device="cpu")


def test_sam_2_s_own_generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = pytest.importorskip("sam2.build_sam")
    original = build.build_sam2
    smaller = [
        "model.image_encoder.trunk.embed_dim=16",
        "model.image_encoder.neck.backbone_channel_list=[128,64,32,16]",
        "model.image_encoder.trunk.stages=[1,1,2,1]",
        "model.image_encoder.trunk.global_att_blocks=[3]",
        "model.memory_attention.num_layers=1",
    ]

    def tiny(config: str, checkpoint: None, **options: Any) -> torch.nn.Module:
        torch.manual_seed(0)
        return original(config, checkpoint, hydra_overrides_extra=smaller, **options)

    monkeypatch.setattr(build, "build_sam2", tiny)
    config = "configs/sam2.1/sam2.1_hiera_t.yaml"
    weights = tiny(config, None, device="cpu", apply_postprocessing=False).state_dict()
    torch.save({"model": weights}, tmp_path / "sam2.pt")
    options = {**EVERY_MASK, "points_per_side": 2, "min_mask_region_area": 10, "config": config, "device": "cpu"}
    segmenter = SAM2Segmenter(tmp_path / "sam2.pt", **options)
    masks = segmenter(IMAGE)
    assert paint_masks(masks, (48, 64)).max() >= 1
    assert segmenter.settings()["config"] == config
    torch.save({"weight": torch.ones(1)}, tmp_path / "other.pt")
    with pytest.raises(SAMCheckpointError, match=r"other\.pt: does not hold the weights of a configs/sam2"):
        SAM2Segmenter(tmp_path / "other.pt", **options)
