"""Which images the views of a set are cut from (sections 4.2 to 4.4, figures 4.2 to 4.5).

=============================  ===========================================  ======================================
arrangement                    views                                        correspondences
=============================  ===========================================  ======================================
:class:`SingleFrame`           all from the seed frame                      by location
:class:`Unpaired`              the same; the labelled image is another      by location
:class:`Paired`                half from a render of the frame's poses      by location
:class:`MultipleArrangements`  half of the small ones from images of one    by location, those through poses
                               object each, in a random pose
:class:`MultipleFrames`        half of the small ones from other frames     by location, those through poses
=============================  ===========================================  ======================================
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch

from correspondence_losses.correspond import MultiCrop
from correspondence_losses.reference.data import FrameSource
from correspondence_losses.reference.streams.crop import Crop
from correspondence_losses.reference.streams.picture import (
    Picture,
    SeedFrame,
    paired_picture,
    posed_picture,
    seed_picture,
)

__all__ = [
    "Arrangement",
    "ArrangementName",
    "MultipleArrangements",
    "MultipleFrames",
    "Paired",
    "PlacedView",
    "PosedArrangement",
    "SingleFrame",
    "Unpaired",
    "create_arrangement",
    "single_object_frames",
]

ArrangementName = Literal["single_frame", "paired", "unpaired", "multiple_arrangements", "multiple_frames"]

T = TypeVar("T")

_ATTEMPTS = 12
"""Crops that are tried for one view."""
_TOLERANCE = 0.01
"""Largest difference of depth, in metres, between a point that is carried over and what the seed frame shows there."""


class PlacedView(NamedTuple):
    """A view before it is cut: its image, its crop, and its size in pixels."""

    picture: Picture
    crop: Crop
    size: int


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
        source, name = _draw(self.labelled_frames)
        return SeedFrame(source, name, background=seed.background)


class Paired(Arrangement):
    """Half of the large and half of the small views from a render of the seed frame's poses (sec. 4.3, fig. 4.4).

    Of an odd number the seed frame has the larger half. A pixel of the render corresponds to the same pixel of the
    frame, on the objects and between them.

    Args:
        renders: Data sets, such as :func:`~correspondence_losses.reference.scenes.render_pairs` makes, that hold the
            counterpart of each seed frame under the frame's own id; with several, one is drawn.

    Raises:
        ValueError: There is no data set; or, for a seed frame, its counterpart has another size.
    """

    def __init__(self, *renders: FrameSource) -> None:
        if not renders:
            raise ValueError("renders must hold at least one data set, got none")
        self.renders = renders

    def place(self, seed: SeedFrame, crops: MultiCrop) -> list[PlacedView]:
        """Return the views: of each size, first those of the seed frame."""
        render = _draw(self.renders).frame(seed.name, seed.background)
        home, pair = seed_picture(seed), paired_picture(seed, render)
        views = []
        for size, count in ((crops.large_size, crops.num_large), (crops.small_size, crops.num_small)):
            views += _cut(home, crops, size, count - count // 2) + _cut(pair, crops, size, count // 2)
        return views


class PosedArrangement(Arrangement):
    """Some of the small views from images in which objects of the seed frame have other poses (sec. 4.4).

    The poses carry each cell on an object into the seed frame, where it shows that side of the object; the others have
    no place there. Such a view is redrawn until it has a cell with one, each time from the next image; after 12 crops a
    view of the seed frame takes its place. So every view has a correspondence, as the thesis
    wants it, and a batch has one shape; ``ViewSet.pictures`` says what each view was cut from.

    Args:
        num_views: How many small views are cut from such images. Default: half of them.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(self, *, num_views: int | None = None) -> None:
        if num_views is not None and num_views < 0:
            raise ValueError(f"num_views must be at least 0, got {num_views}")
        self.num_views = num_views

    @abstractmethod
    def pictures(self, seed: SeedFrame) -> Iterator[Picture]:
        """Yield images that may show objects of the seed frame, in random order, as many as may be asked for."""

    def place(self, seed: SeedFrame, crops: MultiCrop) -> list[PlacedView]:
        """Return the views: large ones and then small ones of the seed frame, then those of the other images."""
        count = crops.num_small // 2 if self.num_views is None else self.num_views
        if count > crops.num_small:
            raise ValueError(f"num_views must be at most the number of small views, {crops.num_small}, got {count}")
        home, pictures = seed_picture(seed), self.pictures(seed)
        views = _cut(home, crops, crops.large_size, crops.num_large)
        views += _cut(home, crops, crops.small_size, crops.num_small - count)
        return views + [self._view(home, pictures, crops) for _ in range(count)]

    def _view(self, home: Picture, pictures: Iterator[Picture], crops: MultiCrop) -> PlacedView:
        for picture in islice(pictures, _ATTEMPTS):
            crop = _crop(picture, crops)
            if picture.locate(crop.grid(crops.cells(crops.small_size))).valid.any():
                return PlacedView(picture, crop, crops.small_size)
        return _cut(home, crops, crops.small_size, 1)[0]


class MultipleArrangements(PosedArrangement):
    """Half of the small views from images of one object of the seed frame each, in a random pose (sec. 4.4, fig. 4.5).

    Args:
        objects: Images of each object alone, with poses: frames by class, each with the source that reads it, such as
            :func:`single_object_frames` finds. For each view set, one is drawn of each class that the seed shows.
        num_views: How many small views are cut from them. Default: half of them.

    Raises:
        ValueError: A number is out of range, or a class has no frame.
    """

    def __init__(
        self,
        objects: Mapping[int, Sequence[tuple[FrameSource, str]]],
        *,
        num_views: int | None = None,
    ) -> None:
        super().__init__(num_views=num_views)
        for object_id, frames in objects.items():
            if not frames:
                raise ValueError(f"objects must hold at least one frame of each class, got none of class {object_id}")
        self.objects = objects

    def pictures(self, seed: SeedFrame) -> Iterator[Picture]:
        """Yield an image of each visible object, and then the same images again."""
        visible = [object_id for object_id in np.unique(seed.frame.label).tolist() if object_id in self.objects]
        found: dict[int, Picture] = {}
        while visible:
            for i in torch.randperm(len(visible)).tolist():
                if (object_id := visible[i]) not in found:
                    source, name = _draw(self.objects[object_id])
                    found[object_id] = posed_picture(seed, source.frame(name), _TOLERANCE)
                yield found[object_id]


class MultipleFrames(PosedArrangement):
    """Half of the small views from other frames, in which objects of the seed frame have other poses (sec. 4.4).

    Args:
        frames: Frames with poses, each with the source that reads it; a seed frame among them is passed over. Of these,
            one is drawn for each attempt: those without an object of the seed have no correspondence with it.
        num_views: How many small views are cut from other frames. Default: half of them.

    Raises:
        ValueError: A number is out of range, or there is no frame.
    """

    def __init__(
        self,
        frames: Sequence[tuple[FrameSource, str]],
        *,
        num_views: int | None = None,
    ) -> None:
        super().__init__(num_views=num_views)
        if not frames:
            raise ValueError("frames must hold at least one frame, got none")
        self.frames = frames

    def pictures(self, seed: SeedFrame) -> Iterator[Picture]:
        """Yield other frames."""

        def is_seed(frame: tuple[FrameSource, str]) -> bool:
            return (frame[0].root, frame[1]) == (seed.source.root, seed.name)

        while not all(map(is_seed, self.frames)):
            source, name = drawn = _draw(self.frames)
            if not is_seed(drawn):
                yield posed_picture(seed, source.frame(name), _TOLERANCE)


def create_arrangement(
    name: ArrangementName,
    *,
    frames: Sequence[tuple[FrameSource, str]],
    labelled: Callable[[], Sequence[tuple[FrameSource, str]]],
    pairs: Callable[[], FrameSource],
    single_objects: Callable[[], FrameSource],
    num_views: int | None = None,
) -> Arrangement:
    """Return an arrangement by its name; what it needs and the others do not is only then asked for.

    Args:
        name: Which.
        frames: The seed frames, or all frames of their data set, each with the source that reads it.
        labelled: Returns the frames with labels of :class:`Unpaired`.
        pairs: Returns the renders of :class:`Paired`.
        single_objects: Returns the renders of :class:`MultipleArrangements`.
        num_views: How many small views are cut from other images where objects have other poses. Default: half.
    """
    if name == "single_frame":
        return SingleFrame()
    if name == "unpaired":
        return Unpaired(labelled())
    if name == "paired":
        return Paired(pairs())
    if name == "multiple_frames":
        return MultipleFrames(frames, num_views=num_views)
    return MultipleArrangements(single_object_frames(single_objects()), num_views=num_views)


def single_object_frames(source: FrameSource) -> dict[int, list[tuple[FrameSource, str]]]:
    """Find the images of each object in a data set of single objects, for :class:`MultipleArrangements`.

    Args:
        source: A data set in which class c stands in ``data/00cc``, such as
            :func:`~correspondence_losses.reference.scenes.render_single_objects` makes.

    Returns:
        Its frames by class.
    """
    frames: dict[int, list[tuple[FrameSource, str]]] = {}
    for name in source.frames("train"):
        frames.setdefault(int(name.split("/")[1]), []).append((source, name))
    return frames


def _cut(picture: Picture, crops: MultiCrop, size: int, count: int) -> list[PlacedView]:
    return [PlacedView(picture, _crop(picture, crops), size) for _ in range(count)]


def _crop(picture: Picture, crops: MultiCrop) -> Crop:
    return Crop.draw(picture.image, crops.scale, crops.ratio, crops.flip)


def _draw(items: Sequence[T]) -> T:
    return items[int(torch.randint(len(items), ()))]
