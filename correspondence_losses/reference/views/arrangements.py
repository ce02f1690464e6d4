"""Which images the views of a set are cut from (sections 4.2 to 4.4, figures 4.2 to 4.5).

=============================  ===========================================  ======================================
arrangement                    views                                        correspondences
=============================  ===========================================  ======================================
:class:`SingleFrame`           all from the seed frame                      by location
:class:`Unpaired`              the same; the labelled image is another      by location
:class:`Paired`                half from a render of the frame's poses      by location
:class:`MultipleArrangements`  half of the small ones from renders of one   by location, the renders' through poses
                               object each, in a random pose
:class:`MultipleFrames`        half of the small ones from other frames     by location, the others' through poses
=============================  ===========================================  ======================================
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np
import torch

from correspondence_losses.reference.data import Frame, FrameSource
from correspondence_losses.reference.views.crop import Crop
from correspondence_losses.reference.views.multi_crop import MultiCrop
from correspondence_losses.reference.views.picture import (
    Picture,
    SeedFrame,
    paired_picture,
    posed_picture,
    seed_picture,
)

__all__ = [
    "Arrangement",
    "FrameRenderer",
    "MultipleArrangements",
    "MultipleFrames",
    "Paired",
    "PlacedView",
    "SingleFrame",
    "Unpaired",
]


class PlacedView(NamedTuple):
    """A view before it is cut: its image, its crop, and its size in pixels."""

    picture: Picture
    crop: Crop
    size: int


class FrameRenderer(Protocol):
    """What renders the synthetic images of an arrangement; each is a function of its arguments."""

    def paired(self, name: str, frame: Frame, variant: int) -> Frame:
        """Render the objects of a frame in its poses, by its camera, in light and on a background of their own.

        Args:
            name: The id of the frame.
            frame: The frame.
            variant: Which of several renders.
        """

    def single_object(self, object_id: int, variant: int) -> Frame:
        """Render one object alone, in a random pose.

        Args:
            object_id: Its class.
            variant: Which of several renders.
        """


class Arrangement(ABC):
    """Chooses the images of a view set and draws the crops, from torch's global generator."""

    @abstractmethod
    def place(self, seed: SeedFrame, crops: MultiCrop) -> list[PlacedView]:
        """Return the views of a seed frame: ``crops.num_large`` large ones, then ``crops.num_small`` small ones."""

    def labelled(self, seed: SeedFrame) -> SeedFrame:
        """Return the frame whose labels the segmentation loss beside the views takes (eq. 4.10): the seed."""
        return seed


class SingleFrame(Arrangement):
    """All views from the seed frame (sec. 4.2, fig. 4.2)."""

    def place(self, seed: SeedFrame, crops: MultiCrop) -> list[PlacedView]:
        """Return the views."""
        home = seed_picture(seed)
        return _cut(home, crops, crops.large_size, crops.num_large) + _cut(
            home, crops, crops.small_size, crops.num_small
        )


class Unpaired(SingleFrame):
    """All views from the seed frame, and labels from another image that has nothing to do with it (table 4.3).

    It needs no annotation of the seed frames: they may be real photographs, and the labelled images synthetic.

    Args:
        labelled_frames: Frames with labels, each with the source that reads it; one is drawn for each seed frame.

    Raises:
        ValueError: There is no frame.
    """

    def __init__(self, labelled_frames: Sequence[tuple[FrameSource, str]]) -> None:
        if not labelled_frames:
            raise ValueError("labelled_frames must hold at least one frame, got none")
        self.labelled_frames = labelled_frames

    def labelled(self, seed: SeedFrame) -> SeedFrame:
        """Return a random one of the labelled frames."""
        source, name = self.labelled_frames[int(torch.randint(len(self.labelled_frames), ()))]
        return SeedFrame(source, name, background=seed.background)


class Paired(Arrangement):
    """Half of the large and half of the small views from a render of the seed frame's poses (sec. 4.3, fig. 4.4).

    Of an odd number the seed frame has the larger half. A pixel of the render corresponds to the same pixel of the
    frame, on the objects and between them.

    Args:
        renderer: What renders.
        num_variants: How many different renders there may be of each frame; one is drawn.

    Raises:
        ValueError: ``num_variants`` is below 1, or the renderer gives an image of another size.
    """

    def __init__(self, renderer: FrameRenderer, *, num_variants: int = 1) -> None:
        _check_at_least("num_variants", num_variants, 1)
        self.renderer = renderer
        self.num_variants = num_variants

    def place(self, seed: SeedFrame, crops: MultiCrop) -> list[PlacedView]:
        """Return the views: of each size, first those of the seed frame."""
        render = self.renderer.paired(seed.name, seed.frame, _draw_variant(self.num_variants))
        home, pair = seed_picture(seed), paired_picture(seed, render)
        views = []
        for size, count in ((crops.large_size, crops.num_large), (crops.small_size, crops.num_small)):
            views += _cut(home, crops, size, count - count // 2) + _cut(pair, crops, size, count // 2)
        return views


class _Posed(Arrangement):
    """Some small views from images in which the seed frame's objects have other poses.

    Such a view is redrawn until a cell of it has a place in the seed frame, each time from the next image; after
    ``attempts`` of them a view of the seed frame takes its place. So each view has a correspondence, as the thesis
    wants, and a batch its shape.

    Args:
        num_views: How many small views are cut from such images. Default: half of them.
        attempts: How many crops are tried for one view.
        tolerance: Largest difference of depth, in metres, between a point that is carried over and what is seen there.
    """

    def __init__(self, *, num_views: int | None, attempts: int, tolerance: float) -> None:
        if num_views is not None:
            _check_at_least("num_views", num_views, 0)
        _check_at_least("attempts", attempts, 1)
        if not tolerance > 0:
            raise ValueError(f"tolerance must be above 0, got {tolerance}")
        self.num_views = num_views
        self.attempts = attempts
        self.tolerance = tolerance

    @abstractmethod
    def _pictures(self, seed: SeedFrame) -> Iterator[Picture]:
        """Yield images with objects of the seed frame, in random order and without an end."""

    def place(self, seed: SeedFrame, crops: MultiCrop) -> list[PlacedView]:
        """Return the views: large ones and then small ones of the seed frame, then those of the other images."""
        count = crops.num_small // 2 if self.num_views is None else self.num_views
        if count > crops.num_small:
            raise ValueError(f"num_views must be at most the number of small views, {crops.num_small}, got {count}")
        home, pictures = seed_picture(seed), self._pictures(seed)
        views = _cut(home, crops, crops.large_size, crops.num_large)
        views += _cut(home, crops, crops.small_size, crops.num_small - count)
        return views + [self._view(home, pictures, crops) for _ in range(count)]

    def _view(self, home: Picture, pictures: Iterator[Picture], crops: MultiCrop) -> PlacedView:
        for picture in islice(pictures, self.attempts):
            crop = crops.draw(picture.image)
            if picture.locate(crop.grid(crops.cells(crops.small_size))).valid.any():
                return PlacedView(picture, crop, crops.small_size)
        return _cut(home, crops, crops.small_size, 1)[0]


class MultipleArrangements(_Posed):
    """Half of the small views from renders of one object of the seed frame each, in a random pose (sec. 4.4, fig. 4.5).

    The poses carry each cell on the object into the seed frame, where it shows that side of it; the others have no
    place there. A view of a render is redrawn until it has such a cell, each time from the next object; after
    ``attempts`` crops a view of the seed frame takes its place, so that every view has a correspondence and a batch
    keeps its shape.

    Args:
        renderer: What renders.
        num_variants: How many different renders there may be of each object; one of each is drawn for a view set.
        num_views: How many small views are cut from renders. Default: half of them.
        attempts: How many crops are tried for one view.
        tolerance: Largest difference of depth, in metres, between a point that is carried over and what the seed frame
            shows there.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(
        self,
        renderer: FrameRenderer,
        *,
        num_variants: int = 1,
        num_views: int | None = None,
        attempts: int = 12,
        tolerance: float = 0.01,
    ) -> None:
        super().__init__(num_views=num_views, attempts=attempts, tolerance=tolerance)
        _check_at_least("num_variants", num_variants, 1)
        self.renderer = renderer
        self.num_variants = num_variants

    def _pictures(self, seed: SeedFrame) -> Iterator[Picture]:
        visible = np.intersect1d(seed.frame.object_ids, seed.frame.label).tolist()
        rendered: dict[int, Picture] = {}
        while visible:
            for i in torch.randperm(len(visible)).tolist():
                if (object_id := visible[i]) not in rendered:
                    render = self.renderer.single_object(object_id, _draw_variant(self.num_variants))
                    rendered[object_id] = posed_picture(seed, render, self.tolerance)
                yield rendered[object_id]


class MultipleFrames(_Posed):
    """Half of the small views from other frames, in which objects of the seed frame have other poses (sec. 4.4).

    As :class:`MultipleArrangements`, with real frames in place of the renders: the others are drawn anew for each
    attempt, and those that share no object with the seed frame have no correspondence with it.

    Args:
        frames: Frames with poses, each with the source that reads it; a seed frame among them is passed over.
        num_views: How many small views are cut from other frames. Default: half of them.
        attempts: How many crops are tried for one view.
        tolerance: As in :class:`MultipleArrangements`.

    Raises:
        ValueError: A number is out of range, or there is no frame.
    """

    def __init__(
        self,
        frames: Sequence[tuple[FrameSource, str]],
        *,
        num_views: int | None = None,
        attempts: int = 12,
        tolerance: float = 0.01,
    ) -> None:
        super().__init__(num_views=num_views, attempts=attempts, tolerance=tolerance)
        if not frames:
            raise ValueError("frames must hold at least one frame, got none")
        self.frames = frames

    def _pictures(self, seed: SeedFrame) -> Iterator[Picture]:
        def is_seed(frame: tuple[FrameSource, str]) -> bool:
            return (frame[0].root, frame[1]) == (seed.source.root, seed.name)

        while not all(map(is_seed, self.frames)):
            source, name = drawn = self.frames[int(torch.randint(len(self.frames), ()))]
            if not is_seed(drawn):
                yield posed_picture(seed, source.frame(name), self.tolerance)


def _cut(picture: Picture, crops: MultiCrop, size: int, count: int) -> list[PlacedView]:
    return [PlacedView(picture, crops.draw(picture.image), size) for _ in range(count)]


def _draw_variant(num_variants: int) -> int:
    return int(torch.randint(num_variants, ()))


def _check_at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
