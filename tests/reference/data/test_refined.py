"""Refined images keep the annotation of the images that they were made of."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ycb_layouts import random_frame, write_original

from correspondence_losses.reference.data import DataError, RefinedImages, open_dataset

FRAME = "data_syn/000000"


@pytest.fixture
def source(tmp_path: Path) -> RefinedImages:
    write_original(tmp_path / "data", FRAME, random_frame(size=(24, 32)))
    (tmp_path / "refined" / "data_syn").mkdir(parents=True)
    return RefinedImages(open_dataset(tmp_path / "data"), tmp_path / "refined")


def save(source: RefinedImages, image: np.ndarray) -> None:
    Image.fromarray(image).save(source.root / f"{FRAME}-color.png")


def test_the_image_is_refined_and_the_rest_is_the_source_s(source: RefinedImages) -> None:
    refined = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    save(source, refined)
    original = source.source.frame(FRAME)
    frame = source.frame(FRAME)
    np.testing.assert_array_equal(frame.image, refined)
    np.testing.assert_array_equal(source.image(FRAME, seed=3), refined)
    np.testing.assert_array_equal(frame.label, original.label)
    np.testing.assert_array_equal(frame.poses, original.poses)
    assert source.frames("synthetic") == [FRAME]
    assert source.splits() == source.source.splits()
    assert source.class_names == source.source.class_names


def test_what_does_not_fit_is_named(source: RefinedImages, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"000000-color\.png"):
        source.image(FRAME)
    save(source, np.zeros((12, 32, 3), np.uint8))
    with pytest.raises(DataError, match="has size 12 x 32"):
        source.image(FRAME)
    save(source, np.zeros((24, 32, 4), np.uint8))
    with pytest.raises(DataError, match="must be opaque"):
        source.image(FRAME)
    with pytest.raises(ValueError, match="frame must look like"):
        source.image("../data/x")
    with pytest.raises(DataError, match="is not a folder of refined images"):
        RefinedImages(source.source, tmp_path / "none")
