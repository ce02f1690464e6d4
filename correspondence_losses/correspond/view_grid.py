"""Where the cells of a view's feature map lie in its seed image."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from correspondence_losses._checks import (
    check_bool,
    check_count,
    check_floating,
    check_not_empty,
    check_rank,
    check_same_device,
    check_shape,
)


class ViewGrid(NamedTuple):
    """The centres of the cells of a batch of views, in pixels of the seed image (figure 4.3).

    Positions are (x, y) with the origin at the outer corner of the first pixel: pixel ``i`` reaches from ``i`` to
    ``i + 1`` and its centre is ``i + 0.5``, so that an image of width ``W`` reaches from 0 to ``W``, and a crop
    that starts at pixel ``l`` has its left side at ``l``.

    Made by :meth:`from_boxes`, for crops, or :meth:`from_points`, for cells that lie anywhere.

    Attributes:
        points: Cell centres (x, y), ``(b, h, w, 2)``.
        valid: Which cells have a position in the seed image, bool, ``(b, h, w)``.
        axis_aligned: Whether all cells are valid and lie in evenly spaced rows and columns, as those of a crop do.
            Then the nearest cell is found for each axis by itself.
    """

    points: Tensor
    valid: Tensor
    axis_aligned: bool

    @classmethod
    def from_boxes(
        cls,
        boxes: Tensor,
        size: tuple[int, int],
        *,
        horizontal_flip: Tensor | None = None,
        vertical_flip: Tensor | None = None,
    ) -> "ViewGrid":
        """The grid of crops of the seed image, resized and then possibly flipped.

        Column ``j`` of ``w`` lies at ``left + (j + 1/2) (right - left) / w``, from the other side if the view is
        flipped; rows likewise. The cells divide the box evenly, so every centre lies inside.

        Args:
            boxes: Crop boxes (left, top, right, bottom) in seed-image pixels, ``(b, 4)``.
            size: Height and width ``(h, w)`` of the feature map.
            horizontal_flip: Which views were mirrored left to right, bool, ``(b,)``; none by default.
            vertical_flip: Which views were mirrored top to bottom, bool, ``(b,)``; none by default.

        Returns:
            The grid of the ``b`` views, float32 or the boxes' own floating dtype if that is wider.

        Raises:
            TypeError: If a flip is not boolean, or a size not an integer.
            ValueError: If the boxes are not ``(b, 4)``, a box in host memory has no area, a flip is not ``(b,)``, or
                a size is below 1.

        Example:
            >>> import torch
            >>> box = torch.tensor([[10.0, 20.0, 40.0, 60.0]])
            >>> grid = ViewGrid.from_boxes(box, (2, 3), horizontal_flip=torch.tensor([True]))
            >>> grid.points[0, 0].tolist()
            [[35.0, 30.0], [25.0, 30.0], [15.0, 30.0]]
        """
        check_rank("boxes", boxes, 2, "(b, 4)")
        check_shape("boxes", boxes, (len(boxes), 4), "left, top, right, bottom of each view")
        check_not_empty("boxes", boxes)
        height, width = size
        check_count("size[0]", height)
        check_count("size[1]", width)
        for name, flip in (("horizontal_flip", horizontal_flip), ("vertical_flip", vertical_flip)):
            if flip is not None:
                check_bool(name, flip)
                check_shape(name, flip, (len(boxes),), "one for each box")
                check_same_device(name, flip, "boxes", boxes)
        _check_areas(boxes)
        boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
        left, top, right, bottom = boxes.unbind(-1)
        x = _centres(left, right, width, horizontal_flip)
        y = _centres(top, bottom, height, vertical_flip)
        points = torch.stack([x[:, None, :].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], dim=-1)
        return cls(points, torch.ones_like(points[..., 0], dtype=torch.bool), axis_aligned=True)

    @classmethod
    def from_points(cls, points: Tensor, valid: Tensor | None = None) -> "ViewGrid":
        """The grid of cells that lie anywhere in the seed image, or nowhere.

        Args:
            points: Cell centres (x, y) in seed-image pixels, ``(b, h, w, 2)``.
            valid: Which of them exist, bool, ``(b, h, w)``; all by default. The others never match.

        Raises:
            TypeError: If ``points`` is not floating-point, or ``valid`` not boolean.
            ValueError: If a shape is wrong, or the devices differ.

        Example:
            >>> import torch
            >>> grid = ViewGrid.from_points(torch.rand(2, 7, 7, 2) * 640)
            >>> grid.size
            (7, 7)
        """
        check_rank("points", points, 4, "(b, h, w, 2)")
        if valid is None:
            valid = torch.ones(points.shape[:3], dtype=torch.bool, device=points.device)
        _check_points("points", points, "valid", valid)
        return cls(points, valid, axis_aligned=False)

    @classmethod
    def cat(cls, grids: Sequence["ViewGrid"]) -> "ViewGrid":
        """Join grids of one size along the batch.

        Args:
            grids: Grids of the same ``(h, w)``.

        Raises:
            ValueError: If there is no grid, or sizes differ.

        Example:
            >>> import torch
            >>> grid = ViewGrid.from_boxes(torch.tensor([[0, 0, 224, 224]]), (7, 7))
            >>> ViewGrid.cat([grid, grid]).points.shape
            torch.Size([2, 7, 7, 2])
        """
        if not grids:
            raise ValueError("grids must hold at least one ViewGrid, got none")
        for grid in grids:
            if grid.points.shape[1:3] != grids[0].points.shape[1:3]:
                raise ValueError(
                    f"grids must have one size to be joined along the batch, got {grids[0].size} and {grid.size}"
                )
        return cls(
            torch.cat([grid.points for grid in grids]),
            torch.cat([grid.valid for grid in grids]),
            axis_aligned=all(grid.axis_aligned for grid in grids),
        )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width ``(h, w)`` of the feature map, in cells."""
        return self.points.shape[1], self.points.shape[2]


def check_grid(name: str, grid: ViewGrid) -> None:
    """Raise unless ``grid`` is a ViewGrid whose points and mask fit each other."""
    if not isinstance(grid, ViewGrid):
        raise TypeError(f"{name} must be a ViewGrid, got {type(grid).__name__}")
    _check_points(f"{name}.points", grid.points, f"{name}.valid", grid.valid)


def _check_points(points_name: str, points: Tensor, valid_name: str, valid: Tensor) -> None:
    check_floating(points_name, points)
    check_rank(points_name, points, 4, "(b, h, w, 2)")
    check_shape(points_name, points, (*points.shape[:3], 2), "x and y of each cell")
    check_not_empty(points_name, points)
    check_bool(valid_name, valid)
    check_shape(valid_name, valid, points.shape[:3], f"one for each of {points_name}")
    check_same_device(valid_name, valid, points_name, points)


def _centres(low: Tensor, high: Tensor, count: int, flip: Tensor | None) -> Tensor:
    steps = torch.arange(count, dtype=low.dtype, device=low.device) + 0.5
    centres = low[:, None] + steps * ((high - low) / count)[:, None]
    return centres if flip is None else torch.where(flip[:, None], centres.flip(-1), centres)


def _check_areas(boxes: Tensor) -> None:
    # Values are looked at only where this stalls no device and breaks no graph.
    if boxes.device.type != "cpu" or torch.compiler.is_compiling():
        return
    if not (boxes[:, :2] < boxes[:, 2:]).all():
        raise ValueError("boxes must have left < right and top < bottom, got a box without area")
