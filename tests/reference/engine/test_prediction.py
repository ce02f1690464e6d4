"""Several sizes, the mirrored image and votes of segments: each way is the mean that it says."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from correspondence_losses.functional import segment_vote
from correspondence_losses.reference.engine.evaluation import predict_classes
from correspondence_losses.reference.engine.prediction import PredictionWays
from correspondence_losses.reference.segments import Segmenter
from correspondence_losses.reference.streams.images import image_to_tensor

SIZE = (64, 96)


class Halves(Segmenter):
    """The left half is one segment; the rest belongs to none."""

    name = "halves"

    def __call__(self, image: NDArray[np.uint8]) -> Sequence[NDArray[np.bool_]]:
        mask = np.zeros(image.shape[:2], bool)
        mask[:, : image.shape[1] // 2] = True
        return [mask]

    def settings(self) -> dict[str, str | int | float]:
        return {}

    def versions(self) -> dict[str, str]:
        return {}


class Model(nn.Module):
    """A network that neither its mirror image nor another size leaves alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(3, 8, 5, 2, 2), nn.ReLU(), nn.Conv2d(8, 4, 5, 2, 2))
        self.seen: list[tuple[int, ...]] = []

    def predict(self, images: Tensor) -> Tensor:
        self.seen.append(tuple(images.shape[-2:]))
        return F.interpolate(20 * self.net(images), scale_factor=4.0)


def image() -> NDArray[np.uint8]:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    return picture.repeat(10, 0).repeat(10, 1)


def view(model: Model, size: tuple[int, int], mirrored: bool) -> Tensor:
    inputs = image_to_tensor(image(), size)[None]
    logits = model.predict(inputs.flip(-1)).flip(-1) if mirrored else model.predict(inputs)
    return F.interpolate(logits, size=(50, 70), mode="bilinear", align_corners=False).softmax(1)[0]


@torch.no_grad()
def test_each_way_is_the_mean_that_it_says():
    model = Model()
    ways = PredictionWays(scales=(1.0, 1.6), mirror=True, segmenter=Halves())
    found = ways.predict(model, image(), SIZE)
    assert list(found.probabilities) == ways.names
    large = (96, 160)  # 1.6 times 64 and 96, in multiples of 32
    assert set(model.seen) == {SIZE, large}
    assert len(model.seen) == 4
    plain, other = view(model, SIZE, False), view(model, large, False)
    expected = {
        "plain": plain,
        "scales": (plain + other) / 2,
        "mirror": (plain + view(model, SIZE, True)) / 2,
        "scales, mirror": (plain + view(model, SIZE, True) + other + view(model, large, True)) / 4,
    }
    segments = torch.zeros(50, 70, dtype=torch.int64)
    segments[:, :35] = 1
    expected["votes"] = segment_vote(expected["plain"], segments).probabilities
    expected["scales, mirror, votes"] = segment_vote(expected["scales, mirror"], segments).probabilities
    assert set(expected) == set(found.probabilities)
    for way, probabilities in expected.items():
        torch.testing.assert_close(found.probabilities[way], probabilities)
        assert torch.equal(found.classes()[way], probabilities.argmax(0))
    assert torch.equal(found.best(), expected["scales, mirror, votes"].argmax(0))
    torch.testing.assert_close(found.segments, segments)
    assert found.votes is not None
    torch.testing.assert_close(found.votes.confidence[1], expected["scales, mirror"][:, :, :35].mean((1, 2)).max())
    plain_classes = predict_classes(model, image_to_tensor(image(), SIZE)[None], (50, 70))
    assert torch.equal(found.classes()["plain"], plain_classes)
    assert len({tuple(classes.flatten().tolist()) for classes in found.classes().values()}) == 6, "ways agree by chance"


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, ["plain"]),
        ({"mirror": True}, ["plain", "mirror"]),
        ({"scales": (0.5,)}, ["plain", "scales"]),
        ({"segmenter": Halves()}, ["plain", "votes"]),
        ({"mirror": True, "segmenter": Halves()}, ["plain", "mirror", "votes", "mirror, votes"]),
    ],
)
def test_names(settings, names):
    ways = PredictionWays(**settings)
    assert ways.names == names
    assert list(ways.predict(Model(), image(), SIZE).probabilities) == names


def test_segments_that_are_known_are_not_made_again():
    class Never(Halves):
        def __call__(self, image: NDArray[np.uint8]) -> Sequence[NDArray[np.bool_]]:
            raise AssertionError("segmented again")

    known = np.zeros((50, 70), np.uint16)
    known[:, :35] = 1
    model = Model()
    found = PredictionWays(segmenter=Never()).predict(model, image(), SIZE, known)
    expected = PredictionWays(segmenter=Halves()).predict(model, image(), SIZE)
    assert torch.equal(found.probabilities["votes"], expected.probabilities["votes"])


def test_unsure_segments_do_not_vote():
    found = PredictionWays(segmenter=Halves(), min_confidence=1.0).predict(Model(), image(), SIZE)
    assert torch.equal(found.probabilities["votes"], found.probabilities["plain"])


def test_what_is_not_sure_enough_to_be_an_object_is_background():
    ways = PredictionWays(mirror=True, object_threshold=0.4)
    assert ways.names == ["plain", "mirror", "mirror, threshold"]
    found = ways.predict(Model(), image(), SIZE)
    probability, expected = found.probabilities["mirror"].max(0)
    expected = torch.where(probability < 0.4, 0, expected)
    assert list(found.classes()) == ways.names
    assert torch.equal(found.classes()["mirror, threshold"], expected)
    assert torch.equal(found.best(), expected)
    assert not torch.equal(found.best(), found.classes()["mirror"])
    assert torch.equal(found.classes()["plain"], found.probabilities["plain"].argmax(0)), "the other ways stay"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scales": ()}, "scales must hold factors above 0"),
        ({"scales": (1.0, 0.0)}, "scales must hold factors above 0"),
        ({"min_confidence": 2.0}, r"min_confidence must lie in \[0, 1\], got 2.0"),
        ({"object_threshold": -0.1}, r"object_threshold must lie in \[0, 1\], got -0.1"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        PredictionWays(**settings)
