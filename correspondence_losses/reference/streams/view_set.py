"""The views of a batch of seed frames, as the losses take them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from correspondence_losses.correspond import ViewGrid

__all__ = ["LabelledImages", "ViewSet", "collate_views"]


class LabelledImages(NamedTuple):
    """Whole images with labels, for the segmentation loss beside the views (eq. 4.10).

    Attributes:
        image: Normalised images, ``(b, 3, H, W)``.
        label: Class of each pixel, int64, ``(b, H, W)``.
    """

    image: Tensor
    label: Tensor


class ViewSet(NamedTuple):
    """The ``v`` views of each of ``b`` seed frames, large views first.

    What differs in size from view to view is a tuple with one tensor for each view, batched over the seed frames;
    that of a single frame has b = 1. It feeds the losses as it is::

        maps = [backbone(image) for image in views.images]
        vicregl(embeddings, maps, views.grids, num_large=views.num_large)                     # eq. 2.10
        segment_matches(views.cell_segments[0], views.cell_segments[1], num_matches=20)       # eq. 4.1

    Segments are those of the seed frame: in a view of another image they stand where it shows what the seed frame
    shows, and elsewhere 0. So one label means one segment in all views.

    Attributes:
        images: Normalised views, ``(b, 3, s, s)`` each.
        grids: Where the cells of each view lie in the seed frame, ``(b, h, w)`` cells each; those without a place
            there are not valid.
        segments: Segment of each pixel of each view, int64, ``(b, s, s)`` each, 0 for none; empty where the seed frames
            are not segmented.
        cell_segments: Segment at the centre of each cell, int64, ``(b, h, w)`` each; empty likewise.
        boxes: The crop (left, top, right, bottom) of each view in pixels of the image it was cut from, float32,
            ``(b, v, 4)``.
        flips: Which views are mirrored left to right, bool, ``(b, v)``.
        pictures: Which image each view was cut from, int64, ``(b, v)``: 0 is the seed frame, the others are numbered
            in the order in which they appear.
        num_large: How many of the views are large.
        labelled: Whole images with labels, or None.
    """

    images: tuple[Tensor, ...]
    grids: tuple[ViewGrid, ...]
    segments: tuple[Tensor, ...]
    cell_segments: tuple[Tensor, ...]
    boxes: Tensor
    flips: Tensor
    pictures: Tensor
    num_large: int
    labelled: LabelledImages | None


def collate_views(view_sets: Sequence[ViewSet]) -> ViewSet:
    """Join view sets along the batch, as the ``collate_fn`` of a data loader.

    Args:
        view_sets: At least one, all of the same views.

    Raises:
        ValueError: There is none, or they differ in the number or sizes of views, or in what they hold.
    """
    if not view_sets:
        raise ValueError("view_sets must hold at least one ViewSet, got none")
    first = view_sets[0]
    for views in view_sets:
        if _form(views) != _form(first):
            raise ValueError(f"view_sets must have one form to be batched, got {_form(first)} and {_form(views)}")
    return ViewSet(
        images=_join([views.images for views in view_sets]),
        grids=tuple(ViewGrid.cat(grids) for grids in zip(*[views.grids for views in view_sets], strict=True)),
        segments=_join([views.segments for views in view_sets]),
        cell_segments=_join([views.cell_segments for views in view_sets]),
        boxes=torch.cat([views.boxes for views in view_sets]),
        flips=torch.cat([views.flips for views in view_sets]),
        pictures=torch.cat([views.pictures for views in view_sets]),
        num_large=first.num_large,
        labelled=_join_labelled([views.labelled for views in view_sets]),
    )


def _form(views: ViewSet) -> tuple[object, ...]:
    """What must be the same in all view sets of a batch."""
    return (
        views.num_large,
        [tuple(image.shape[1:]) for image in views.images],
        [grid.size for grid in views.grids],
        len(views.segments),
        None if views.labelled is None else tuple(views.labelled.image.shape[1:]),
    )


def _join(views: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return tuple(torch.cat(tensors) for tensors in zip(*views, strict=True))


def _join_labelled(labelled: Sequence[LabelledImages | None]) -> LabelledImages | None:
    present = [images for images in labelled if images is not None]
    return LabelledImages(*_join(present)) if present else None
