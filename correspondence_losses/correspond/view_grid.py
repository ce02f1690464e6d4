"""Where the cells of a view's feature map lie in its seed image."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from correspondence_losses._checks import (
    check_bool,
    check_floating,
    check_not_empty,
    check_rank,
    check_same_device,
    check_shape,
    check_size,
)


class ViewGrid(NamedTuple):
    """Where the cells of a view's feature map lie in the seed image, for a batch of views (figure 4.3).

    Positions (x, y) are in pixels, with the origin at the outer corner of the first pixel. Pixel ``i`` covers ``i`` to
    ``i + 1`` and its centre is ``i + 0.5``. An image of width ``W`` covers 0 to ``W``, and the left side of a crop that
    starts at pixel ``l`` is ``l``.

    Make one with :meth:`from_transform`, for any transform of torchvision; with :meth:`from_boxes`, for crops; or with
    :meth:`from_points`, for cells that lie anywhere.

    Attributes:
        points: Cell centres (x, y), ``(b, h, w, 2)``.
        valid: Which cells have a position in the seed image, bool, ``(b, h, w)``.
        axis_aligned: Whether all cells are valid and lie in evenly spaced rows and columns, as those of a crop do. Rows
            and columns are then searched separately.
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
        """Make the grid of crops of the seed image that were resized and possibly flipped.

        The centre of column ``j`` of ``w`` is ``left + (j + 1/2) (right - left) / w``, counted from the other side if
        the view is flipped; rows likewise. The cells divide the box evenly, so every centre lies inside.

        Args:
            boxes: Crop boxes (left, top, right, bottom) in seed-image pixels, ``(b, 4)``.
            size: Height and width ``(h, w)`` of the feature map.
            horizontal_flip: Which views were mirrored left to right, bool, ``(b,)``; none by default.
            vertical_flip: Which views were mirrored top to bottom, bool, ``(b,)``; none by default.

        Returns:
            The grid of the ``b`` views, float32 or the boxes' own floating dtype if that is wider.

        Raises:
            TypeError: If a flip is not boolean, or a size not an integer.
            ValueError: If the boxes are not ``(b, 4)``, a box in host memory has no finite area, a flip is not
                ``(b,)``, or a size is below 1.

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
        check_size("size", size)
        height, width = size
        for name, flip in (("horizontal_flip", horizontal_flip), ("vertical_flip", vertical_flip)):
            if flip is not None:
                check_bool(name, flip)
                check_shape(name, flip, (len(boxes),), "one for each box")
                check_same_device(name, flip, "boxes", boxes)
        boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
        _check_areas(boxes)
        left, top, right, bottom = boxes.unbind(-1)
        x = _centres(left, right, width, horizontal_flip)
        y = _centres(top, bottom, height, vertical_flip)
        points = torch.stack([x[:, None, :].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], dim=-1)
        return cls(points, torch.ones_like(points[..., 0], dtype=torch.bool), axis_aligned=True)

    @classmethod
    def from_transform(cls, transform: Any, image: Any, size: tuple[int, int]) -> tuple[Any, "ViewGrid"]:
        """Transform an image with torchvision and get the grid of the view that comes out.

        The transform is any of ``torchvision.transforms.v2``, or a ``Compose`` of them: crops, resizing, flips,
        padding, affine, rotation and perspective are followed exactly, with the parameters that were drawn for the
        image. What changes colours has no effect on the grid. The cells divide the view evenly.

        A cell is valid if its centre shows a point of the seed image. It is invalid where the view was padded or
        filled, also where one transform moved the point out of the image and a later one moved the place back in.

        Args:
            transform: The transform. It is called once, with the image and a carrier of positions.
            image: What the transform takes: a PIL image, or a tensor ``(c, H, W)`` or ``(b, c, H, W)``. torchvision
                draws one set of parameters for all images of a batch. For draws of their own, call this for each image
                and join the grids with :meth:`cat`.
            size: Height and width ``(h, w)`` of the view's feature map.

        Returns:
            The view, and its grid in float32, on the view's device.

        Raises:
            ModuleNotFoundError: If torchvision is not installed; the library itself does not need it.
            TypeError: If ``transform`` or ``image`` is of the wrong kind, or a size not an integer.
            ValueError: If a size is below 1, or the transform moves pixels in a way that cannot be followed: elastic
                deformations, several crops at once, or a transform of your own that does not call
                ``torchvision.transforms.v2.functional``.

        Example:
            >>> import torch
            >>> from torchvision.transforms import v2
            >>> transform = v2.Compose([v2.CenterCrop(40), v2.Resize(80), v2.RandomHorizontalFlip(p=1.0)])
            >>> view, grid = ViewGrid.from_transform(transform, torch.rand(3, 60, 80), (1, 2))
            >>> view.shape, grid.points.tolist()
            (torch.Size([3, 80, 80]), [[[[50.0, 30.0], [30.0, 30.0]]]])
        """
        check_size("size", size)
        try:
            from correspondence_losses.correspond import _torchvision
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "ViewGrid.from_transform needs torchvision, which is not installed: pip install torchvision"
            ) from error
        view, rows = _torchvision.transformed(transform, image)
        is_tensor = isinstance(view, Tensor)
        batch = len(view) if is_tensor and view.ndim > 3 else 1
        return view, cls._from_rows(rows, size, batch, view.device if is_tensor else torch.device("cpu"))

    @classmethod
    def _from_rows(cls, rows: Tensor, size: tuple[int, int], batch: int, device: torch.device) -> "ViewGrid":
        """The grid of a view whose canvases have these rows (k, 11), the seed image first and the view last."""
        matrices, canvases = rows[:, :9].view(-1, 3, 3), rows[:, 9:]
        y, x = (
            (torch.arange(cells, dtype=rows.dtype) + 0.5) / cells * length
            for cells, length in zip(size, canvases[-1], strict=True)
        )
        centres = torch.stack((*torch.meshgrid(x, y, indexing="xy"), torch.ones(size, dtype=rows.dtype)), dim=-1)
        on_canvases = torch.einsum("kij,hwj->khwi", matrices, centres)
        in_front = on_canvases[..., 2] > 0
        positions = on_canvases[..., :2] / on_canvases[..., 2:].where(in_front[..., None], 1)
        inside = (positions > 0) & (positions < canvases.flip(-1)[:, None, None])
        valid = (inside.all(-1) & in_front).all(0)
        seed = matrices[0] / matrices[0, 2, 2]
        straight = bool((seed[[0, 1, 2, 2], [1, 0, 0, 1]] == 0).all() and valid.all())
        points = positions[0].where(valid[..., None], 0).float().to(device).expand(batch, *size, 2)
        return cls(points, valid.to(device).expand(batch, *size), axis_aligned=straight)

    @classmethod
    def from_points(cls, points: Tensor, valid: Tensor | None = None) -> "ViewGrid":
        """Make the grid of cells that lie anywhere in the seed image.

        Args:
            points: Cell centres (x, y) in pixels of the seed image, ``(b, h, w, 2)``.
            valid: Which cells have a position in it, bool, ``(b, h, w)``; all by default. The others never match.

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
    sides = boxes[:, 2:] - boxes[:, :2]
    if not ((sides > 0) & (sides < torch.inf)).all():
        raise ValueError("boxes must have left < right and top < bottom, and a finite area, got a box without one")
