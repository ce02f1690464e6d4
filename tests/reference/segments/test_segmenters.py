"""The segmenters: Felzenszwalb on pictures that are known, and the real automatic mask generator of a tiny SAM."""

import urllib.error
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import segment_anything
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from ycb_layouts import real_sample

from correspondence_losses.functional import paint_masks
from correspondence_losses.reference.data import open_dataset
from correspondence_losses.reference.segments import (
    FelzenszwalbSegmenter,
    SAMCheckpointError,
    SAMSegmenter,
    Segmenter,
    download_checkpoint,
)
from correspondence_losses.reference.segments.sam import CHECKPOINTS

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
EVERY_MASK = {"points_per_side": 3, "pred_iou_thresh": -9.0, "stability_score_thresh": -1.0, "box_nms_thresh": 0.99}


def tiny_sam(width: int = 32) -> Sam:
    """SAM of the real modules: 128 pixels, one layer each."""
    torch.manual_seed(0)
    encoder = ImageEncoderViT(
        img_size=128,
        patch_size=16,
        embed_dim=16,
        depth=1,
        num_heads=2,
        out_chans=width,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
    )
    prompts = PromptEncoder(width, image_embedding_size=(8, 8), input_image_size=(128, 128), mask_in_chans=4)
    transformer = TwoWayTransformer(depth=1, embedding_dim=width, num_heads=2, mlp_dim=16)
    decoder = MaskDecoder(transformer_dim=width, transformer=transformer, iou_head_depth=2, iou_head_hidden_dim=8)
    return Sam(image_encoder=encoder, prompt_encoder=prompts, mask_decoder=decoder)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sam") / "tiny.pth"
    torch.save(tiny_sam().state_dict(), path)
    return path


@pytest.fixture(autouse=True)
def tiny_model_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(segment_anything.sam_model_registry, "tiny", tiny_sam)


def test_sam_generates_masks(checkpoint: Path) -> None:
    segmenter = SAMSegmenter(checkpoint, model_type="tiny", min_mask_region_area=10, device="cpu", **EVERY_MASK)
    masks = segmenter(IMAGE)
    assert len(masks) > 1
    assert all(mask["segmentation"].shape == (48, 64) and mask["segmentation"].dtype == bool for mask in masks)
    painted = paint_masks(masks, (48, 64))
    assert painted.max() > 1
    np.testing.assert_array_equal(paint_masks(segmenter(IMAGE), (48, 64)), painted)
    # How many points go at once does not decide the masks.
    one_by_one = SAMSegmenter(
        checkpoint, model_type="tiny", min_mask_region_area=10, device="cpu", points_per_batch=1, **EVERY_MASK
    )
    np.testing.assert_array_equal(paint_masks(one_by_one(IMAGE), (48, 64)), painted)
    assert one_by_one.settings() == segmenter.settings()


def test_sam_without_a_mask_gives_none(checkpoint: Path) -> None:
    segmenter = SAMSegmenter(checkpoint, model_type="tiny", pred_iou_thresh=1e9, points_per_side=2, device="cpu")
    assert segmenter(IMAGE) == []


def test_sam_removes_small_regions(checkpoint: Path) -> None:
    def areas(min_mask_region_area: int) -> list[int]:
        segmenter = SAMSegmenter(
            checkpoint, model_type="tiny", min_mask_region_area=min_mask_region_area, device="cpu", **EVERY_MASK
        )
        return sorted(mask["area"] for mask in segmenter(IMAGE))

    assert areas(0) != areas(400)


def test_sam_defaults_are_the_thesis_and_are_recorded(checkpoint: Path) -> None:
    settings = SAMSegmenter(checkpoint, model_type="tiny", device="cpu").settings()
    assert settings["points_per_side"] == 24
    assert settings["min_mask_region_area"] == 1000
    assert settings["model_type"] == "tiny"
    assert len(str(settings["checkpoint_sha256"])) == 64
    assert SAMSegmenter.__init__.__kwdefaults__["model_type"] == "vit_h"
    assert {"segment-anything", "torch", "opencv"} == set(SAMSegmenter(checkpoint, model_type="tiny").versions())


def test_wrong_checkpoints_are_named(tmp_path: Path, checkpoint: Path) -> None:
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(checkpoint.read_bytes()[:2000])
    torch.save(tiny_sam(width=16).state_dict(), tmp_path / "other.pth")
    torch.save({"weight": torch.ones(2)}, tmp_path / "unrelated.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save(tiny_sam(), tmp_path / "pickled_module.pth")
    for name, message in {
        "missing.pth": "is missing",
        "damaged.pth": "cannot be read as PyTorch weights",
        "pickled_module.pth": "cannot be read as PyTorch weights",
        "other.pth": r"does not hold the weights of a tiny \(size mismatch",
        "unrelated.pth": r"does not hold the weights of a tiny \(Missing key",
        "list.pth": "does not hold the weights of a tiny",
    }.items():
        with pytest.raises(SAMCheckpointError, match=f"{name}: {message}"):
            SAMSegmenter(tmp_path / name, model_type="tiny", device="cpu")


def test_checkpoints_are_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    calls = []

    def download(url: str, path: str, hash_prefix: str) -> None:
        calls.append((url, hash_prefix))
        Path(path).write_bytes(b"weights")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    for _ in range(2):
        assert download_checkpoint("vit_b").read_bytes() == b"weights"
    name, sha256 = CHECKPOINTS["vit_b"]
    assert calls == [(f"https://dl.fbaipublicfiles.com/segment_anything/{name}", sha256)]
    assert "Downloading Segment Anything's vit_b" in capsys.readouterr().err
    with pytest.raises(ValueError, match="has no official checkpoint"):
        download_checkpoint("tiny")


@pytest.mark.parametrize(
    "error", [urllib.error.URLError("no network"), RuntimeError('invalid hash value (expected "a")')]
)
def test_failed_downloads_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def download(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(SAMCheckpointError, match=r"sam_vit_h_4b8939\.pth: cannot be downloaded.*give its path"):
        SAMSegmenter()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"model_type": "vit_x"}, "model_type must be one of .*vit_h.*, got 'vit_x'"),
        ({"points_per_side": 0}, "points_per_side must be at least 1, got 0"),
        ({"points_per_batch": 0}, "points_per_batch must be at least 1"),
        ({"min_mask_region_area": -1}, "min_mask_region_area must be at least 0"),
        ({"crop_n_layers": -1}, "crop_n_layers must be at least 0"),
    ],
)
def test_wrong_sam_settings_are_refused(checkpoint: Path, kwargs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SAMSegmenter(checkpoint, **{"model_type": "tiny", **kwargs})


@given(rows=st.integers(1, 3), columns=st.integers(1, 3))
@settings(max_examples=9, deadline=None)
def test_felzenszwalb_finds_flat_tiles(rows: int, columns: int) -> None:
    tiles = np.arange(rows * columns).reshape(rows, columns)
    truth = np.kron(tiles, np.ones((20, 20), int))
    image = np.stack([truth * 97 % 256, truth * 61 % 256, truth * 29 % 256], 2).astype(np.uint8)
    masks = FelzenszwalbSegmenter(scale=1.0, sigma=0.0, min_size=20)(image)
    np.testing.assert_array_equal(np.sum(masks, axis=0), 1)
    assert {mask.tobytes() for mask in masks} == {(truth == tile).tobytes() for tile in np.unique(truth)}


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"scale": 0}, "scale must be above 0"),
        ({"scale": float("nan")}, "scale must be above 0"),
        ({"sigma": -1}, "sigma must be at least 0"),
        ({"min_size": 0}, "min_size must be at least 1"),
    ],
)
def test_wrong_felzenszwalb_settings_are_refused(kwargs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FelzenszwalbSegmenter(**kwargs)


@pytest.mark.parametrize("image", [IMAGE[..., 0], IMAGE.astype(np.float32), IMAGE[:0], np.dstack([IMAGE, IMAGE])])
def test_images_are_checked(checkpoint: Path, image: np.ndarray) -> None:
    segmenters: list[Segmenter] = [
        FelzenszwalbSegmenter(),
        SAMSegmenter(checkpoint, model_type="tiny", device="cpu"),
    ]
    for segmenter in segmenters:
        with pytest.raises(ValueError, match=r"image must be \(H, W, 3\) uint8"):
            segmenter(image)


def test_felzenszwalb_segments_of_real_frames_follow_objects() -> None:
    data = open_dataset(real_sample())
    for frame in ("data/0000/000001", "data/0002/000001"):
        image, label = data.image(frame), data.label(frame)
        segments = paint_masks(FelzenszwalbSegmenter()(image), label.shape).numpy()
        assert 20 <= segments.max() <= 100
        counts = np.zeros((segments.max() + 1, 22), int)
        np.add.at(counts, (segments.ravel(), label.ravel()), 1)
        assert counts.max(1).sum() / label.size > 0.95
