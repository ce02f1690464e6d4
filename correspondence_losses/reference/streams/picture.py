"""The images that views are cut from: the seed frame, and others that show the same objects."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from correspondence_losses.correspond import PosedFrames, ViewGrid, pose_grid
from correspondence_losses.reference.data import Frame, FrameSource
from correspondence_losses.reference.segments import SegmentCache

__all__ = ["Picture", "SeedFrame", "paired_picture", "posed_picture", "seed_picture"]


class SeedFrame:
    """The frame in whose pixels the grids of a view set lie; each part is read when it is first asked for.

    Args:
        source: The data set.
        name: The id of the frame.
        cache: Its segments; None for none.
        background: Varies the background of a transparent image.
    """

    def __init__(self, source: FrameSource, name: str, cache: SegmentCache | None = None, background: int = 0) -> None:
        self.source = source
        self.name = name
        self.cache = cache
        self.background = background

    @cached_property
    def image(self) -> NDArray[np.uint8]:
        """The image (H, W, 3), RGB."""
        return self.source.image(self.name, self.background)

    @cached_property
    def frame(self) -> Frame:
        """All that is known about the frame."""
        return self.source.frame(self.name, self.background)

    @cached_property
    def posed(self) -> PosedFrames:
        """Its poses and the surface that it shows, as a batch of one."""
        return _posed(self.frame)

    @cached_property
    def segments(self) -> Tensor | None:
        """The segments (H, W), int64, or None without a cache."""
        if self.cache is None:
            return None
        return torch.from_numpy(self.cache.load(self.name, self.image.shape[:2]).astype(np.int64))


@dataclass(frozen=True, eq=False)
class Picture:
    """An image, and how it relates to the seed frame.

    Attributes:
        image: ``uint8`` (3, H, W).
        locate: From a grid in pixels of this image to the same cells in pixels of the seed frame.
        segments: The seed frame's segments (H', W') as far as this image shows them, to be read at located points; or
            None.
    """

    image: Tensor
    locate: Callable[[ViewGrid], ViewGrid]
    segments: Tensor | None


def seed_picture(seed: SeedFrame) -> Picture:
    """The seed frame itself."""
    return Picture(_image_tensor(seed.image), lambda grid: grid, seed.segments)


def paired_picture(seed: SeedFrame, render: Frame) -> Picture:
    """An image whose objects have the seed frame's poses: a pixel of one is that pixel of the other (sec. 4.3).

    The seed's segments hold on the objects, where both images show the same one; the backgrounds differ.

    Raises:
        ValueError: The images differ in size.
    """
    label = seed.frame.label
    if render.label.shape != label.shape:
        raise ValueError(f"a paired image must have the size of {seed.name}, {label.shape}, got {render.label.shape}")
    shared = torch.from_numpy((label == render.label) & (label > 0))
    segments = None if seed.segments is None else seed.segments.where(shared, 0)
    return Picture(_image_tensor(render.image), lambda grid: grid, segments)


def posed_picture(seed: SeedFrame, frame: Frame, tolerance: float) -> Picture:
    """An image whose objects have other poses, which carry its pixels into the seed frame (sec. 4.4).

    Args:
        seed: The seed frame.
        frame: The image, with its poses and the surface that it shows.
        tolerance: As in :func:`~correspondence_losses.correspond.pose_grid`, in metres.
    """
    here, there = _posed(frame), seed.posed
    return Picture(
        _image_tensor(frame.image), lambda grid: pose_grid(grid, here, there, tolerance=tolerance), seed.segments
    )


def _image_tensor(image: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def _posed(frame: Frame) -> PosedFrames:
    ids, counts = np.unique(frame.object_ids, return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"a frame must hold each object once to match by poses, got {counts.max()} of class {ids[counts.argmax()]}"
        )
    coordinates = frame.object_coordinates
    # Object coordinates are rendered from the poses; the depth of a real camera has holes and noise.
    surface = {"depth": frame.depth} if coordinates is None else {"object_coordinates": coordinates}
    return PosedFrames(
        labels=torch.from_numpy(frame.label.astype(np.int64))[None],
        object_ids=torch.from_numpy(frame.object_ids)[None],
        poses=torch.from_numpy(frame.poses)[None],
        intrinsics=torch.from_numpy(frame.intrinsics)[None],
        # Contiguous, so that reading a few of its points copies no more than those.
        **{name: torch.from_numpy(np.ascontiguousarray(values))[None] for name, values in surface.items()},
    )
