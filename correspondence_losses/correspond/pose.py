"""Matches through object coordinates and 6D poses (section 4.4, figure 4.5)."""

from typing import NamedTuple

import torch
from torch import Tensor

from correspondence_losses._checks import (
    check_floating,
    check_integer,
    check_not_empty,
    check_positive,
    check_rank,
    check_same_device,
    check_shape,
)
from correspondence_losses.correspond.location import location_matches
from correspondence_losses.correspond.matches import Matches
from correspondence_losses.correspond.view_grid import ViewGrid, check_grid


class PosedFrames(NamedTuple):
    """A batch of frames whose objects have known poses.

    The camera looks along z, with x to the right and y down. Lengths are in one unit, metres in YCB-Video. The
    intrinsics put the centre of a pixel at its integer index, as OpenCV and YCB-Video do.

    Of ``depth`` and ``object_coordinates`` one suffices.

    Attributes:
        labels: Which object each pixel shows, as one of ``object_ids``, or 0 for none; integer, ``(b, H, W)``. Two
            objects of one class need two ids.
        object_ids: The ids of the objects in each frame, integer, ``(b, o)``; filled up with 0.
        poses: From object to camera coordinates, rotation and translation ``[R | t]``, ``(b, o, 3, 4)``.
        intrinsics: Camera matrices, ``(b, 3, 3)``.
        depth: z of what each pixel shows, 0 where it is not known, ``(b, H, W)``.
        object_coordinates: Position of what each pixel shows in the coordinates of its object, all 0 where it is not
            known, ``(b, H, W, 3)``.
    """

    labels: Tensor
    object_ids: Tensor
    poses: Tensor
    intrinsics: Tensor
    depth: Tensor | None = None
    object_coordinates: Tensor | None = None


@torch.no_grad()
def pose_grid(grid: ViewGrid, frames: PosedFrames, seed_frames: PosedFrames, *, tolerance: float = 0.01) -> ViewGrid:
    """Carry the cells of a view into another frame of the same objects, the seed frame, through the objects' poses.

    A cell centre p of the view, on the object o at depth z, shows the object point X. The seed frame shows X at q:

        X = R_oᵀ (z K⁻¹ [p, 1] - t_o),    Y = R'_o X + t'_o,    q = π(K' Y)

    The depth z is that of the frame's object coordinates, ``(R_o X(p) + t_o)_z``, where it has them, and else of its
    depth map. Labels, depth and coordinates are read at the pixel that holds p, or q. A cell is valid if

    - p lies in the frame, on an object whose pose both frames know, at a known depth,
    - q lies in the seed frame, in front of the camera,
    - the seed frame shows the same object at q, and its depth map and object coordinates (those it has) agree with the
      depth of Y within ``tolerance``: otherwise the point is occluded, or not known to be visible.

    The matches of a symmetric object are as ambiguous as its pose.

    Args:
        grid: Cell centres of the views, in pixels of ``frames``.
        frames: The frames that the views were cropped from.
        seed_frames: The frames to carry them to, with the same object ids.
        tolerance: Largest difference between the depth of a carried point and the depth seen there, in the unit of
            the poses. The default, 1 cm in metres, lies above the residuals of YCB-Video's depth.

    Returns:
        Free points in pixels of ``seed_frames``, of the shape of ``grid``; (0, 0) where invalid.

    Raises:
        TypeError: If an argument is of the wrong kind, or a tensor of the wrong dtype.
        ValueError: If a shape is wrong, batch sizes or devices differ, a frame has neither depth nor object
            coordinates, or ``tolerance`` is not positive.

    Example:
        >>> import torch
        >>> from correspondence_losses.correspond import PosedFrames, ViewGrid, pose_grid
        >>> pose = torch.eye(3, 4)[None, None]
        >>> camera = torch.tensor([[[100.0, 0, 49.5], [0, 100, 49.5], [0, 0, 1]]])
        >>> wall = PosedFrames(torch.ones(1, 100, 100, dtype=torch.int64), torch.ones(1, 1, dtype=torch.int64),
        ...                    pose, camera, depth=torch.full((1, 100, 100), 2.0))
        >>> shift = torch.tensor([0.2, 0.0, 0.0])
        >>> moved = wall._replace(poses=pose + torch.cat([torch.zeros(3, 3), shift[:, None]], dim=1))
        >>> carried = pose_grid(ViewGrid.from_boxes(torch.tensor([[0, 0, 100, 100]]), (1, 2)), wall, moved)
        >>> carried.points.tolist(), carried.valid.tolist()
        ([[[[35.0, 50.0], [85.0, 50.0]]]], [[[True, True]]])

    Source:
        Section 4.4, figure 4.5.
    """
    check_grid("grid", grid)
    _check_frames("frames", frames, "grid", grid)
    _check_frames("seed_frames", seed_frames, "grid", grid)
    check_positive("tolerance", tolerance)
    return _carry(grid, frames, seed_frames, tolerance)


@torch.no_grad()
def pose_matches(
    grid_a: ViewGrid,
    frames_a: PosedFrames,
    grid_b: ViewGrid,
    frames_b: PosedFrames,
    num_matches: int,
    *,
    tolerance: float = 0.01,
) -> Matches:
    """Match by 6D pose: carry the cells of view ``a`` into the frame of view ``b`` and match by location (sec. 4.4).

    :func:`pose_grid` carries the cells, :func:`location_matches` matches them. A cell that is not visible in the other
    frame matches nothing.

    Args:
        grid_a: Cell centres of the source views, in pixels of ``frames_a``.
        frames_a: The frames that those views were cropped from.
        grid_b: Cell centres of the views to search, in pixels of ``frames_b``.
        frames_b: The frames that those were cropped from.
        num_matches: Number of match slots ``k``. If fewer cells match, the remaining slots are invalid.
        tolerance: As in :func:`pose_grid`.

    Returns:
        ``k`` matches for each image, in row-major order of the cell in ``a``. ``distance`` is in pixels of
        ``frames_b``.

    Raises:
        TypeError: As :func:`pose_grid` and :func:`location_matches` do.
        ValueError: Likewise.

    Example:
        >>> import torch
        >>> from correspondence_losses.correspond import PosedFrames, ViewGrid, pose_matches
        >>> camera = torch.tensor([[[100.0, 0, 49.5], [0, 100, 49.5], [0, 0, 1]]])
        >>> wall = PosedFrames(torch.ones(1, 100, 100, dtype=torch.int64), torch.ones(1, 1, dtype=torch.int64),
        ...                    torch.eye(3, 4)[None, None], camera, depth=torch.full((1, 100, 100), 2.0))
        >>> left = ViewGrid.from_boxes(torch.tensor([[0, 0, 60, 60]]), (3, 3))
        >>> right = ViewGrid.from_boxes(torch.tensor([[40, 40, 100, 100]]), (3, 3))
        >>> matches = pose_matches(left, wall, right, wall, num_matches=1)
        >>> matches.index_a.tolist(), matches.index_b.tolist()
        ([[8]], [[0]])

    Source:
        Section 4.4, figure 4.5.
    """
    check_grid("grid_a", grid_a)
    check_grid("grid_b", grid_b)
    _check_frames("frames_a", frames_a, "grid_a", grid_a)
    _check_frames("frames_b", frames_b, "grid_a", grid_a)
    check_positive("tolerance", tolerance)
    return location_matches(_carry(grid_a, frames_a, frames_b, tolerance), grid_b, num_matches)


def _carry(grid: ViewGrid, frames: PosedFrames, seed_frames: PosedFrames, tolerance: float) -> ViewGrid:
    dtype = torch.promote_types(torch.promote_types(grid.points.dtype, frames.poses.dtype), torch.float32)

    points = grid.points.flatten(1, 2).to(dtype)
    inside, pixel = _pixels(points, frames.labels)
    object_id = frames.labels.flatten(1).long().gather(1, pixel)
    known, pose = _poses_of(object_id, frames, dtype)
    seed_known, seed_pose = _poses_of(object_id, seed_frames, dtype)

    depth = _depths(frames, pixel, pose, dtype)[-1]
    camera_point = _back_project(points, depth, frames.intrinsics.to(dtype))
    object_point = _rotate(pose[..., :3].mT, camera_point - pose[..., 3])
    seed_point = _rotate(seed_pose[..., :3], object_point) + seed_pose[..., 3]
    seed_depth = seed_point[..., 2]
    positions = _project(seed_point, seed_frames.intrinsics.to(dtype))

    seed_inside, seed_pixel = _pixels(positions, seed_frames.labels)
    seed_id = seed_frames.labels.flatten(1).long().gather(1, seed_pixel)
    valid = grid.valid.flatten(1) & inside & known & (depth > 0)
    valid = valid & seed_known & seed_inside & (seed_depth > 0) & (seed_id == object_id)
    for seen_depth in _depths(seed_frames, seed_pixel, seed_pose, dtype):
        valid = valid & (seen_depth > 0) & ((seed_depth - seen_depth).abs() < tolerance)
    positions = positions.where(valid[..., None], 0).to(torch.promote_types(grid.points.dtype, torch.float32))
    shape = grid.valid.shape
    return ViewGrid.from_points(positions.view(*shape, 2), valid.view(shape))


def _pixels(points: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Whether each point lies in the image ``(b, H, W)``, and the flat index of the pixel that holds it, or of 0."""
    height, width = image.shape[1:3]
    x, y = points.floor().unbind(-1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return inside, (y * width + x).where(inside, 0).long()


def _poses_of(object_id: Tensor, frames: PosedFrames, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Whether the frame has a pose for each point's object ``(b, n)``, and that pose ``(b, n, 3, 4)``."""
    same = object_id[..., None] == frames.object_ids[:, None, :].long()
    slot = same.to(torch.uint8).argmax(dim=-1)
    poses = frames.poses.to(dtype).flatten(2).gather(1, slot[..., None].expand(-1, -1, 12))
    return same.any(dim=-1) & (object_id != 0), poses.view(*slot.shape, 3, 4)


def _depths(frames: PosedFrames, pixel: Tensor, pose: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """The depth at each pixel by each map that the frames have, the most exact last; 0 where it is not known."""
    depths = []
    if frames.depth is not None:
        depths.append(frames.depth.flatten(1).gather(1, pixel).to(dtype))
    if frames.object_coordinates is not None:
        coordinates = frames.object_coordinates.flatten(1, 2).gather(1, pixel[..., None].expand(-1, -1, 3)).to(dtype)
        depth = (pose[..., 2, :3] * coordinates).sum(dim=-1) + pose[..., 2, 3]
        depths.append(depth.where((coordinates != 0).any(dim=-1), 0))
    return depths


def _rotate(rotation: Tensor, points: Tensor) -> Tensor:
    # Not a matrix product, which autocast would round.
    return (rotation * points[..., None, :]).sum(dim=-1)


def _back_project(points: Tensor, depth: Tensor, intrinsics: Tensor) -> Tensor:
    fx, skew, cx, fy, cy = _camera(intrinsics)
    # Positions count from the corner of the first pixel, intrinsics from its centre.
    y = (points[..., 1] - 0.5 - cy) / fy
    x = (points[..., 0] - 0.5 - cx - skew * y) / fx
    return torch.stack([x, y, torch.ones_like(x)], dim=-1) * depth[..., None]


def _project(points: Tensor, intrinsics: Tensor) -> Tensor:
    fx, skew, cx, fy, cy = _camera(intrinsics)
    x, y = (points[..., :2] / points[..., 2:]).unbind(-1)
    return torch.stack([fx * x + skew * y + cx, fy * y + cy], dim=-1) + 0.5


def _camera(intrinsics: Tensor) -> tuple[Tensor, ...]:
    return tuple(intrinsics[:, row, column, None] for row, column in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2)))


def _check_frames(name: str, frames: PosedFrames, grid_name: str, grid: ViewGrid) -> None:
    if not isinstance(frames, PosedFrames):
        raise TypeError(f"{name} must be PosedFrames, got {type(frames).__name__}")
    check_integer(f"{name}.labels", frames.labels)
    check_rank(f"{name}.labels", frames.labels, 3, "(b, H, W)")
    check_not_empty(f"{name}.labels", frames.labels)
    check_integer(f"{name}.object_ids", frames.object_ids)
    check_rank(f"{name}.object_ids", frames.object_ids, 2, "(b, o)")
    check_not_empty(f"{name}.object_ids", frames.object_ids)
    check_floating(f"{name}.poses", frames.poses)
    check_floating(f"{name}.intrinsics", frames.intrinsics)
    batch, objects, image = len(grid.points), frames.object_ids.shape[1], frames.labels.shape[1:]
    expected: list[tuple[str, Tensor, tuple[int, ...], str]] = [
        ("labels", frames.labels, (batch, *image), f"batch of {grid_name}.points"),
        ("object_ids", frames.object_ids, (batch, objects), f"batch of {grid_name}.points"),
        ("poses", frames.poses, (batch, objects, 3, 4), f"one for each of {name}.object_ids"),
        ("intrinsics", frames.intrinsics, (batch, 3, 3), f"batch of {name}.labels"),
    ]
    if frames.depth is None and frames.object_coordinates is None:
        raise ValueError(f"{name} must have depth or object_coordinates, got neither")
    if frames.depth is not None:
        check_floating(f"{name}.depth", frames.depth)
        expected.append(("depth", frames.depth, (batch, *image), f"that of {name}.labels"))
    if frames.object_coordinates is not None:
        check_floating(f"{name}.object_coordinates", frames.object_coordinates)
        expected.append(
            ("object_coordinates", frames.object_coordinates, (batch, *image, 3), f"that of {name}.labels, and x y z")
        )
    for field, tensor, shape, wanted in expected:
        check_shape(f"{name}.{field}", tensor, shape, wanted)
        check_same_device(f"{name}.{field}", tensor, f"{grid_name}.points", grid.points)
