"""Composed training images: image and label stay together, whatever is pasted, moved, hidden or put behind."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision import tv_tensors
from ycb_layouts import random_frame, synthetic_meta, write_original

from correspondence_losses.reference.data import FrameSource, open_dataset
from correspondence_losses.reference.streams import Augmentation, SampleStream

BEHIND = (7, 200, 90)
HEIGHT, WIDTH = 48, 64


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FrameSource:
    """Two transparent images, each with one object whose red channel is its label's number."""
    root = tmp_path_factory.mktemp("ycb")
    for index, (number, box) in enumerate(((3, np.s_[8:30, 10:40]), (9, np.s_[20:44, 24:60]))):
        label = np.zeros((HEIGHT, WIDTH), np.uint8)
        label[box] = number
        image = np.dstack([label * 20, np.zeros_like(label), np.zeros_like(label)]).astype(np.uint8)
        frame = random_frame(index, size=(HEIGHT, WIDTH), object_ids=(number,))
        name = f"data_syn/{index:06d}"
        write_original(root, name, dataclasses.replace(frame, label=label, image=image), synthetic_meta(frame))
        alpha = np.where(label > 0, 255, 0).astype(np.uint8)
        Image.fromarray(np.dstack([image, alpha])).save(root / f"{name}-color.png")
    return open_dataset(root, background=BEHIND)


def samples(source: FrameSource, count: int = 24, **changes: Any) -> list[dict[str, Tensor]]:
    frames = [(source, frame) for frame in source.frames("synthetic")]
    stream = SampleStream(frames, [], size=(HEIGHT, WIDTH), augmentation=Augmentation(**changes), seed=0)
    return [stream[index] for index in range(count)]


def objects_agree(sample: dict[str, Tensor]) -> Tensor:
    """Return where a labelled pixel has the colour of its object."""
    red, green, blue = (255 * sample["image"]).round()
    agrees: Tensor = (red == 20 * sample["label"]) & (green == 0) & (blue == 0)
    return agrees[sample["label"] > 0]


def test_pasted_objects_bring_their_labels(source: FrameSource) -> None:
    made = samples(source, copy_paste=1.0)
    assert all(objects_agree(sample).all() for sample in made)
    kinds = {tuple(sample["label"].unique().tolist()) for sample in made}
    assert (0, 3, 9) in kinds
    background = torch.tensor(BEHIND)[:, None] / 255
    for sample in made:
        behind = sample["image"][:, sample["label"] == 0]
        torch.testing.assert_close(behind, background.expand_as(behind))


def test_nothing_is_pasted_unless_it_is_asked_for(source: FrameSource) -> None:
    kinds = {tuple(sample["label"].unique().tolist()) for sample in samples(source)}
    assert kinds == {(0, 3), (0, 9)}


def test_clutter_stands_behind_objects_and_hides_them_with_their_labels(source: FrameSource) -> None:
    plain, made = samples(source), samples(source, clutter=1.0)
    assert all(objects_agree(sample).all() for sample in made)
    hidden = [((a["label"] > 0) & (b["label"] == 0)).sum().item() for a, b in zip(plain, made, strict=True)]
    assert sum(hidden) > 0
    assert all(((a["label"] == b["label"]) | (b["label"] == 0)).all() for a, b in zip(plain, made, strict=True))
    background = torch.tensor(BEHIND)[:, None, None] / 255
    covered = [((s["image"] - background).abs().amax(0) > 1e-3)[s["label"] == 0].float().mean() for s in made]
    assert max(covered) > 0.5


def test_a_smaller_image_has_background_around_it(source: FrameSource) -> None:
    for before, after in zip(samples(source), samples(source, zoom=(0.5, 0.5)), strict=True):
        area = (after["label"] > 0).sum() / (before["label"] > 0).sum()
        assert 0.2 < area < 0.3
        border = torch.cat([after["image"][:, 0], after["image"][:, -1]], dim=1)
        torch.testing.assert_close(border, torch.tensor(BEHIND)[:, None].expand_as(border) / 255)


def test_a_larger_image_is_seen_in_part(source: FrameSource) -> None:
    plain, made = samples(source), samples(source, zoom=(1.6, 1.6))
    areas = [((b["label"] > 0).sum() / (a["label"] > 0).sum()).item() for a, b in zip(plain, made, strict=True)]
    assert max(areas) > 2
    assert all(sample["image"].shape == (3, HEIGHT, WIDTH) for sample in made)


def test_rotation_moves_label_and_image_together(source: FrameSource) -> None:
    for sample in samples(source, rotation=30.0, zoom=(0.8, 1.3), flip=0.5):
        red = (255 * sample["image"][0]).round()
        label = sample["label"][None].float()
        highest, lowest = (sign * F.max_pool2d(sign * label, 5, 1) for sign in (1, -1))
        inside = (highest == lowest)[0] & (lowest[0] > 0)  # where nothing else is interpolated with it
        assert inside.any()
        assert ((red - 20 * label[0])[2:-2, 2:-2].abs()[inside] <= 1).all()


def test_windows_are_cut_from_the_resized_image(source: FrameSource) -> None:
    whole = samples(source)
    for before, after in zip(whole, samples(source, window=0.7), strict=True):
        assert after["image"].shape == (3, 32, 32)
        windows = before["label"].unfold(0, 32, 1).unfold(1, 32, 1).flatten(0, 1)
        assert (windows == after["label"]).flatten(1).all(1).any()


def test_windows_lie_about_objects(source: FrameSource) -> None:
    """Of windows that are a small part of the image, each shows an object, and they differ."""
    frames = [(source, frame) for frame in source.frames("synthetic")]
    stream = SampleStream(frames, [], size=(192, 256), augmentation=Augmentation(window=0.2, zoom=(0.2, 0.4)), seed=0)
    made = [stream[index]["label"] for index in range(24)]
    assert all(label.shape == (32, 32) and (label > 0).any() for label in made)
    assert len({tuple(label.flatten().tolist()) for label in made}) > 12


def test_a_window_of_an_image_without_labels_may_lie_anywhere() -> None:
    window = Augmentation(window=0.5).geometry((64, 64))
    columns = torch.arange(64, dtype=torch.uint8).expand(3, 64, 64)
    torch.manual_seed(0)
    lefts = {int(window(tv_tensors.Image(columns))[0, 0, 0]) for _ in range(300)}
    assert min(lefts) == 0
    assert max(lefts) == 32


@pytest.mark.parametrize(
    ("size", "window", "expected"),
    [((192, 256), 2 / 3, (128, 160)), ((192, 256), 0.6667, (128, 160)), ((480, 640), 0.5, (224, 320)),
     ((32, 64), 0.1, (32, 32)), ((24, 40), 0.5, (24, 32)), ((96, 128), 1.0, (96, 128))],
)  # fmt: skip
def test_windows_are_whole_cells(size: tuple[int, int], window: float, expected: tuple[int, int]) -> None:
    image = tv_tensors.Image(torch.zeros(3, *size, dtype=torch.uint8))
    assert Augmentation(window=window).geometry(size)(image).shape[1:] == expected


@pytest.mark.parametrize("name", ["camera", "sensor", "jitter", "grayscale", "blur"])
def test_changes_of_colour_leave_labels_alone(source: FrameSource, name: str) -> None:
    changed = 0
    for before, after in zip(samples(source, 6), samples(source, 6, **{name: 1.0}), strict=True):
        assert torch.equal(before["label"], after["label"])
        assert ((after["image"] >= 0) & (after["image"] <= 1)).all()
        changed += not torch.equal(before["image"], after["image"])
    assert changed >= 5  # a blur may be too small to be seen


def test_a_composed_sample_is_a_function_of_the_seed_and_its_index(source: FrameSource) -> None:
    changes: dict[str, Any] = {"copy_paste": 0.5, "clutter": 0.5, "zoom": (0.6, 1.6), "rotation": 10.0, "jitter": 0.4}
    state = torch.random.get_rng_state()
    first, again = samples(source, 6, **changes), samples(source, 6, **changes)
    for one, other in zip(first, again, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_example_pictures_stand_behind_where_they_are_asked_for(source: FrameSource) -> None:
    pictures = open_dataset(Path(source.root), background=Path("examples"))
    behind = [sample["image"][:, sample["label"] == 0] for sample in samples(pictures, 6)]
    assert all(values.std() > 0 for values in behind)
    assert not torch.equal(behind[0].mean(), behind[2].mean())  # the same image, another picture in the next pass


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"copy_paste": 1.5}, r"copy_paste must be a probability, in \[0, 1\], got 1.5"),
        ({"zoom": (1.5, 0.5)}, r"zoom must be a range above 0, got \(1.5, 0.5\)"),
        ({"jitter": -0.1}, "jitter must be at least 0, got -0.1"),
        ({"window": 0.0}, r"window must lie in \(0, 1\], got 0.0"),
    ],
)
def test_bad_settings_name_the_argument(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augmentation(**change)
