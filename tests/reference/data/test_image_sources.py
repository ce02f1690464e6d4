"""Folders of unlabelled images, and backgrounds behind transparent ones."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image
from ycb_layouts import SIZE, random_frame, real_sample, synthetic_meta, write_original

from correspondence_losses.reference.data import DataError, ImageBackground, ImageFolder, SolidBackground, YCBVideo
from correspondence_losses.reference.data.background import composite

FRAME = "data_syn/000003"


@given(
    image=npst.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(4))),
    color=st.tuples(*[st.integers(0, 255)] * 3),
)
@settings(max_examples=50, deadline=None)
def test_compositing_is_the_over_operator(image: np.ndarray, color: tuple[int, int, int]) -> None:
    alpha = image[..., 3:].astype(np.float64) / 255
    expected = alpha * image[..., :3] + (1 - alpha) * np.array(color)
    result = composite(image, SolidBackground(color), FRAME, seed=0)
    assert result.dtype == np.uint8
    assert np.abs(result - expected).max() <= 0.5 + 1e-9


def test_opaque_images_stay(tmp_path: Path) -> None:
    image = random_frame().image
    assert composite(image, SolidBackground(), FRAME, seed=0) is image


def write_synthetic(root: Path) -> np.ndarray:
    alpha = np.zeros(SIZE, np.uint8)
    alpha[4:8] = 255
    write_original(root, FRAME, random_frame(), synthetic_meta(random_frame()), alpha)
    return alpha > 0


def test_solid_background_fills_what_is_transparent(tmp_path: Path) -> None:
    opaque = write_synthetic(tmp_path)
    for background, color in ((None, (124, 116, 104)), ((9, 8, 7), (9, 8, 7))):
        image = YCBVideo(tmp_path, background=background).image(FRAME)
        np.testing.assert_array_equal(image[opaque], random_frame().image[opaque])
        assert (image[~opaque] == color).all()


def test_image_background_depends_on_frame_and_seed_alone(tmp_path: Path) -> None:
    opaque = write_synthetic(tmp_path / "data")
    for number in range(8):
        (tmp_path / "pictures" / "sub").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (31, 23 + number), (number, 50, 60)).save(tmp_path / f"pictures/sub/{number}.PNG")
    first, second = (YCBVideo(tmp_path / "data", background=tmp_path / "pictures") for _ in range(2))
    drawn = [first.image(FRAME, seed)[~opaque] for seed in range(12)]
    for seed, pixels in enumerate(drawn):
        np.testing.assert_array_equal(second.frame(FRAME, seed).image[~opaque], pixels)
        assert len(np.unique(pixels, axis=0)) == 1
        assert pixels[0, 0] < 8
    assert len({int(pixels[0, 0]) for pixels in drawn}) > 3
    background = ImageBackground(tmp_path / "pictures")
    other = [background.render(SIZE, f"data_syn/{number:06d}", seed=0)[0, 0, 0] for number in range(12)]
    assert len({int(value) for value in other}) > 3


@pytest.mark.parametrize("size", [(3, 50), (50, 3), (1, 1), (64, 64)])
def test_image_background_covers_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("L", (20, 10), 77).save(tmp_path / "a.jpg")
    assert (ImageBackground(tmp_path).render(size, FRAME, seed=1) == 77).all()
    assert ImageBackground(tmp_path).render(size, FRAME, seed=1).shape == (*size, 3)


def test_wrong_backgrounds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no image"):
        ImageBackground(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        ImageBackground(tmp_path / "missing")
    for color in ((1, 2), (1, 2, 256), (-1, 0, 0)):
        with pytest.raises(ValueError, match="color must be three values"):
            SolidBackground(color)


def test_image_folder_lists_images_in_natural_order(tmp_path: Path) -> None:
    names = ["2.png", "10.jpeg", "b/1.bmp", "b/a.webp", "b/a.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (7, 5), (200, 100, 50)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    source = ImageFolder(tmp_path)
    assert source.frames() == ["2.png", "10.jpeg", "b/1.bmp", "b/a.jpg", "b/a.webp"]
    assert source.splits() == ["unlabeled"]
    assert source.class_names == ()
    for frame in source.frames("unlabeled"):
        assert source.image(frame).shape == (5, 7, 3)
        for read in (source.label, source.frame):
            with pytest.raises(DataError, match="unlabelled images"):
                read(frame)
    for frame in ("notes.txt", "../2.png", "missing.png"):
        with pytest.raises(ValueError, match="frame must be one of the images"):
            source.image(frame)
    with pytest.raises(ValueError, match="split must be one of"):
        source.frames("train")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_image_folder_gives_rgb_of_every_mode(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (4, 3)).save(tmp_path / "a.png")
    image = ImageFolder(tmp_path, background=(1, 2, 3)).image("a.png")
    assert image.shape == (3, 4, 3)
    assert (image == ((1, 2, 3) if mode in ("LA", "RGBA") else 0)).all()


def test_image_folder_names_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no image"):
        ImageFolder(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match=r"broken\.jpg: cannot be read as an image"):
        ImageFolder(tmp_path).image("broken.jpg")


def test_real_photographs_are_read() -> None:
    source = ImageFolder(real_sample() / "unlabeled")
    assert len(source.frames()) == 4
    assert all(source.image(frame).shape == (480, 640, 3) for frame in source.frames())
