"""Samples of self-training: a function of the index alone, mixed and masked as they say; rare classes come often."""

from pathlib import Path

import numpy as np
import pytest
import torch

from correspondence_losses.reference.data import YCBVideo
from correspondence_losses.reference.segments import FelzenszwalbSegmenter, presegment
from correspondence_losses.reference.streams.images import Augmentation
from correspondence_losses.reference.streams.self_training import RareClassOrder, SelfTrainingStream


def stream(data: Path, cache: Path, *, temperature: float = 0.01) -> SelfTrainingStream:
    source = YCBVideo(data)
    frames = source.frames("train")
    segments = presegment(source, frames, cache, FelzenszwalbSegmenter(scale=50, min_size=20), progress=False)
    return SelfTrainingStream(
        [(source, frame) for frame in source.frames("synthetic")],
        [(source, frame, segments) for frame in frames],
        size=(32, 64),
        augmentation=Augmentation(flip=0.5, grayscale=1.0),
        seed=0,
        rare_class_temperature=temperature,
        mask_block=8,
        mask_ratio=0.5,
    )


def test_samples_are_mixed_and_masked_images_of_their_index(data: Path, tmp_path: Path) -> None:
    samples = stream(data, tmp_path / "cache")
    for index in (5, 0, 5):
        torch.manual_seed(index)  # whatever the state of the global generator
        sample, again = samples[index], stream(data, tmp_path / "cache")[index]
        assert sample.keys() == again.keys()
        for name, value in sample.items():
            assert torch.equal(value, again[name]), name
        pasted = sample["pasted"]
        expected = torch.where(pasted, sample["image"], sample["unlabelled_image"])
        assert torch.equal(sample["mixed_image"], expected)
        shown, chosen = sample["label"].unique().tolist(), sample["label"][pasted].unique().tolist()
        assert len(chosen) == (len(shown) - 1 + 1) // 2, "half of the classes, the background apart"
        assert 0 not in chosen
        hidden = (sample["masked_image"] != sample["unlabelled_image"]).any(0)
        assert (sample["masked_image"][:, hidden] == 0.5).all()
        squares = hidden.unfold(0, 8, 8).unfold(1, 8, 8).flatten(2).float().mean(-1)
        assert ((squares < 0.1) | (squares > 0.9)).all()
        # The teacher sees the colours, the student does not.
        assert (sample["plain_image"].std(0) > 0).any()
        torch.testing.assert_close(sample["unlabelled_image"].std(0).max(), torch.tensor(0.0), atol=1e-3, rtol=0)
        assert sample["segments"].shape == sample["label"].shape == (32, 64)
    assert not torch.equal(samples[0]["mixed_image"], samples[1]["mixed_image"])


def test_rare_classes_come_as_often_as_the_equation_says() -> None:
    labels = [np.array([[0, 1, 1, 1]]), np.array([[0, 1, 1, 1]]), np.array([[0, 0, 0, 2]])]
    for temperature in (0.3, 2.0):
        order = RareClassOrder(labels, temperature=temperature, seed=0, stream=1)
        shares = np.array([6 / 12, 1 / 12])
        expected = np.exp((1 - shares) / temperature)
        expected /= expected.sum()
        assert order.probabilities == pytest.approx(expected)
        drawn = [order[i] for i in range(4000)]
        assert drawn == [order[i] for i in range(4000)]
        assert drawn.count(2) / 4000 == pytest.approx(expected[1], abs=0.04)  # standard error 0.008
        assert drawn.count(0) == pytest.approx(drawn.count(1), abs=0.05 * 4000)


def test_labels_without_an_object() -> None:
    with pytest.raises(ValueError, match="labels must show an object, all are background"):
        RareClassOrder([np.zeros((2, 2), np.uint8)], temperature=1.0, seed=0, stream=1)
