"""Ways to predict beside the plain one: several sizes, the mirrored image, votes of segments, a threshold."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from correspondence_losses.functional import SegmentVotes, paint_masks, segment_vote
from correspondence_losses.reference.segments import Segmenter
from correspondence_losses.reference.streams.images import image_to_tensor

__all__ = ["Prediction", "PredictionWays"]

_CELL = 32


@dataclass(frozen=True)
class Prediction:
    """What was predicted for an image.

    Args:
        probabilities: Class probabilities (c, H, W) by each way.
        segments: The image's segments (H, W), 0 for none, where they vote.
        votes: What each segment votes for, by the last way that has votes.
        object_threshold: Least probability of its class for a pixel of an object, 0 for none.
    """

    probabilities: Mapping[str, Tensor]
    segments: Tensor | None
    votes: SegmentVotes | None
    object_threshold: float = 0.0

    def classes(self) -> dict[str, Tensor]:
        """Return the class map (H, W) by each way."""
        found = {way: probabilities.argmax(0) for way, probabilities in self.probabilities.items()}
        if self.object_threshold > 0:
            last = list(found)[-1]
            unsure = self.probabilities[last].amax(0) < self.object_threshold
            found[_and(last, "threshold")] = found[last].masked_fill(unsure, 0)
        return found

    def best(self) -> Tensor:
        """Return the class map (H, W) by the last way, which uses all that was asked for."""
        return list(self.classes().values())[-1]


@dataclass(frozen=True, kw_only=True)
class PredictionWays:
    """Several ways to predict the classes of an image, each of which is scored by itself.

    The first is always the plain one: the image at its own size. With several sizes or the mirrored image, class
    probabilities are averaged over them. With a segmenter, they are then averaged over the image's segments
    (:func:`~correspondence_losses.functional.segment_vote`). With a threshold, what is not sure enough to be an object
    is then background.

    Args:
        scales: Factors on the size that images are predicted at.
        mirror: Whether the mirrored image is predicted too.
        segmenter: What makes the segments that vote, or ``None``.
        min_confidence: Least probability of its class that a segment votes with; pixels of others keep their own.
        object_threshold: Least probability of its class for a pixel of an object, after the votes; a pixel below it is
            background. 0 takes the most probable class everywhere.

    Raises:
        ValueError: A setting is out of range.

    Example:
        >>> PredictionWays(scales=(1.0, 1.5), mirror=True).names
        ['plain', 'scales', 'mirror', 'scales, mirror']
    """

    scales: tuple[float, ...] = (1.0,)
    mirror: bool = False
    segmenter: Segmenter | None = None
    min_confidence: float = 0.0
    object_threshold: float = 0.0

    def __post_init__(self) -> None:
        """Check what the types do not say."""
        check_scales("scales", self.scales)
        for name in ("min_confidence", "object_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")

    @property
    def names(self) -> list[str]:
        """The names of the ways; the last one uses all that is asked for."""
        names = list(self._views())
        if self.segmenter is not None:
            names += [_and(name, "votes") for name in dict.fromkeys((names[0], names[-1]))]
        if self.object_threshold > 0:
            names.append(_and(names[-1], "threshold"))
        return names

    @torch.no_grad()
    def predict(
        self,
        model: Any,
        image: NDArray[np.uint8],
        size: tuple[int, int],
        segments: NDArray[np.integer] | None = None,
    ) -> Prediction:
        """Predict an image by each way.

        Args:
            model: In evaluation mode; its ``predict`` returns the logits of images (b, 3, h, w).
            image: (H, W, 3) RGB.
            size: The height and width of the plain way.
            segments: The image's segments (H, W), where they are known already; 0 is no segment.
        """
        ways = self._views()
        wanted = dict.fromkeys(view for views in ways.values() for view in views)
        maps = {view: self._view(model, image, size, *view) for view in wanted}
        found = {name: torch.stack([maps[view] for view in views]).mean(0) for name, views in ways.items()}
        if self.segmenter is None:
            return Prediction(found, None, None, self.object_threshold)
        if segments is None:
            labels = paint_masks(self.segmenter(image), (image.shape[0], image.shape[1]))
        else:
            labels = torch.from_numpy(segments.astype(np.int64))
        labels = labels.to(found["plain"].device)
        votes: SegmentVotes | None = None
        for name in dict.fromkeys((next(iter(found)), list(found)[-1])):
            votes = segment_vote(found[name], labels, min_confidence=self.min_confidence)
            found[_and(name, "votes")] = votes.probabilities
        return Prediction(found, labels, votes, self.object_threshold)

    def _views(self) -> dict[str, list[tuple[float, bool]]]:
        """The (scale, mirrored) whose probabilities each way averages, before segments vote."""
        ways = {"plain": [(1.0, False)]}
        if self.scales != (1.0,):
            ways["scales"] = [(scale, False) for scale in self.scales]
        if self.mirror:
            ways["mirror"] = [(1.0, False), (1.0, True)]
        if len(ways) == 3:
            ways["scales, mirror"] = [(scale, mirrored) for scale in self.scales for mirrored in (False, True)]
        return ways

    def _view(
        self, model: Any, image: NDArray[np.uint8], size: tuple[int, int], scale: float, mirrored: bool
    ) -> Tensor:
        if scale != 1:
            size = (_in_cells(scale * size[0]), _in_cells(scale * size[1]))
        inputs = image_to_tensor(image, size)[None].to(next(model.parameters()).device)
        logits = model.predict(inputs.flip(-1) if mirrored else inputs).float()
        logits = logits.flip(-1) if mirrored else logits
        shape = (image.shape[0], image.shape[1])
        return F.interpolate(logits, size=shape, mode="bilinear", align_corners=False)[0].softmax(0)


def check_scales(name: str, scales: tuple[float, ...]) -> None:
    """Raise ``ValueError`` unless there are scales, all above 0."""
    if not scales or min(scales) <= 0:
        raise ValueError(f"{name} must hold factors above 0, got {scales}")


def _and(name: str, more: str) -> str:
    return more if name == "plain" else f"{name}, {more}"


def _in_cells(length: float) -> int:
    return max(round(length / _CELL), 1) * _CELL
