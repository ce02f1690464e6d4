import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from correspondence_losses.correspond import PosedFrames, ViewGrid, location_matches, pose_grid, pose_matches

WIDTH, HEIGHT = 48, 36
INTRINSICS = torch.tensor([[80.0, 0.5, 23.0], [0.0, 82.0, 17.5], [0.0, 0.0, 1.0]], dtype=torch.float64)
RADIUS = 0.1


def rotation(x, y, z):
    def about(axis, angle):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        matrix = torch.eye(3, dtype=torch.float64)
        matrix[i, i] = matrix[j, j] = math.cos(angle)
        matrix[i, j], matrix[j, i] = -math.sin(angle), math.sin(angle)
        return matrix

    return about(0, x) @ about(1, y) @ about(2, z)


def ray_cast(centres, positions):
    """Which sphere is first hit by the ray of each position, and at which depth: (-1, inf) for none."""
    y = (positions[:, 1] - 0.5 - INTRINSICS[1, 2]) / INTRINSICS[1, 1]
    x = (positions[:, 0] - 0.5 - INTRINSICS[0, 2] - INTRINSICS[0, 1] * y) / INTRINSICS[0, 0]
    ray = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    best_depth = torch.full_like(x, torch.inf)
    best = torch.full(x.shape, -1)
    for index, centre in enumerate(centres):
        a, b, c = ray.square().sum(-1), ray @ centre, centre.square().sum() - RADIUS**2
        root = b.square() - a * c
        depth = ((b - root.clamp(min=0).sqrt()) / a).where(root >= 0, torch.inf)
        best = torch.where(depth < best_depth, index, best)
        best_depth = torch.minimum(depth, best_depth)
    return best, best_depth


def render(poses, ids, *, depth=True, coordinates=True):
    """One frame of spheres at the given poses (o, 3, 4), exact at the pixel centres."""
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    centres = torch.stack([columns, rows], dim=-1).flatten(0, 1).double() + 0.5
    hit, z = ray_cast(poses[:, :, 3], centres)
    labels = torch.tensor([*ids, 0])[hit]
    z = z.where(hit >= 0, 0)
    y = (centres[:, 1] - 0.5 - INTRINSICS[1, 2]) / INTRINSICS[1, 1]
    x = (centres[:, 0] - 0.5 - INTRINSICS[0, 2] - INTRINSICS[0, 1] * y) / INTRINSICS[0, 0]
    camera = torch.stack([x * z, y * z, z], dim=-1)
    pose = poses[hit.clamp(min=0)]
    local = torch.einsum("nji,nj->ni", pose[..., :3], camera - pose[..., 3]).where((hit >= 0)[:, None], 0)
    return PosedFrames(
        labels=labels.view(1, HEIGHT, WIDTH),
        object_ids=torch.tensor([ids]),
        poses=poses[None],
        intrinsics=INTRINSICS[None],
        depth=z.view(1, HEIGHT, WIDTH) if depth else None,
        object_coordinates=local.view(1, HEIGHT, WIDTH, 3) if coordinates else None,
    )


angles = st.floats(-0.5, 0.5)
offsets = st.floats(-0.12, 0.12)


@st.composite
def arrangements(draw):
    """Poses of two spheres, often in front of each other and partly out of the frame."""
    poses = []
    for _ in range(2):
        turn = rotation(draw(angles), draw(angles), draw(angles))
        place = torch.tensor([draw(offsets), draw(offsets), draw(st.floats(0.6, 1.2))], dtype=torch.float64)
        poses.append(torch.cat([turn, place[:, None]], dim=1))
    return torch.stack(poses)


def pixel_grid():
    return ViewGrid.from_boxes(torch.tensor([[0.0, 0, WIDTH, HEIGHT]], dtype=torch.float64), (HEIGHT, WIDTH))


@settings(max_examples=40, deadline=None)
@given(arrangements(), arrangements(), st.sampled_from([(True, True), (True, False), (False, True)]))
def test_pixels_are_carried_to_where_the_geometry_says(poses, seed_poses, maps):
    ids = [7, 3]
    frame = render(poses, ids, depth=maps[0], coordinates=maps[1])
    seed = render(seed_poses, ids, depth=maps[1], coordinates=maps[0])
    carried = pose_grid(pixel_grid(), frame, seed, tolerance=0.005)
    valid = carried.valid[0]

    # Literally: each pixel's point on its sphere, by the pose of its object, into the other camera.
    full = render(poses, ids)
    for slot, object_id in enumerate(ids):
        shown = full.labels[0] == object_id
        points = full.object_coordinates[0][shown] @ seed_poses[slot, :, :3].T + seed_poses[slot, :, 3]
        projected = points @ INTRINSICS.T
        expected = projected[:, :2] / projected[:, 2:] + 0.5
        torch.testing.assert_close(carried.points[0][shown][valid[shown]], expected[valid[shown]], rtol=0, atol=1e-6)
        # Visible: the ray to it meets the same sphere first, at that point. Within a pixel of an edge of what is
        # seen the maps, which are known at pixel centres only, cannot tell: the centre may see a sliver of the sphere
        # that none of the rays around it meets.
        inside = (expected > 0).all(-1) & (expected[:, 0] < WIDTH) & (expected[:, 1] < HEIGHT)
        clearly_seen, clearly_hidden = inside.clone(), torch.ones_like(inside)
        around = torch.tensor([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [1, -1], [-1, 1], [-1, -1]])
        for positions in (expected.floor() + 0.5, *(expected + shift for shift in around)):
            hit, depth = ray_cast(seed_poses[:, :, 3], positions)
            clearly_seen &= (hit == slot) & ((depth - points[:, 2]).abs() < 0.005)
            clearly_hidden &= ~inside | (hit != slot) | (points[:, 2] - depth > RADIUS / 2)
        assert valid[shown][clearly_seen].all()
        assert not valid[shown][clearly_hidden].any()
    assert not valid[full.labels[0] == 0].any()


@settings(max_examples=20, deadline=None)
@given(arrangements(), st.integers(1, 9), st.integers(1, 9))
def test_carrying_to_the_same_frame_is_the_identity(poses, height, width):
    frame = render(poses, [1, 2])
    # No cell's centre of this box lies on a border of pixels, where rounding would decide which pixel it sees.
    grid = ViewGrid.from_boxes(torch.tensor([[3.3, 2.1, 40.6, 33.6]], dtype=torch.float64), (height, width))
    carried = pose_grid(grid, frame, frame)
    torch.testing.assert_close(carried.points[carried.valid], grid.points[carried.valid], rtol=0, atol=1e-9)
    column, row = grid.points[0].long().unbind(-1)
    assert torch.equal(carried.valid[0], frame.labels[0, row, column] != 0)


@settings(max_examples=20, deadline=None)
@given(arrangements(), arrangements())
def test_the_order_of_the_objects_and_padding_do_not_matter(poses, seed_poses):
    frame, seed = render(poses, [1, 2]), render(seed_poses, [1, 2])
    padding = torch.zeros(1, 2, 3, 4, dtype=torch.float64)
    shuffled = seed._replace(
        object_ids=torch.tensor([[0, 2, 1, 0]]),
        poses=torch.cat([padding[:, :1], seed.poses.flip(1), padding[:, :1]], 1),
    )
    for got, expected in zip(
        pose_grid(pixel_grid(), frame, shuffled), pose_grid(pixel_grid(), frame, seed), strict=True
    ):
        assert got == expected if isinstance(expected, bool) else torch.equal(got, expected)


def pose_at(x, y, z):
    return torch.cat([torch.eye(3), torch.tensor([[x], [y], [z]])], dim=1).double()


def test_an_object_behind_another_is_not_valid():
    frame = render(torch.stack([pose_at(-0.1, 0, 0.8), pose_at(0.1, 0, 0.8)]), [1, 2])
    seed = render(torch.stack([pose_at(0, 0, 1.2), pose_at(0, 0, 0.7)]), [1, 2])
    carried = pose_grid(pixel_grid(), frame, seed)
    assert not carried.valid[frame.labels == 1].any()
    assert carried.valid[frame.labels == 2].any()


def test_the_far_side_is_not_valid():
    frame = render(pose_at(0, 0, 0.8)[None], [1])
    turned = torch.cat([rotation(0, math.pi, 0), torch.tensor([[0.0], [0.0], [0.8]])], dim=1)
    assert not pose_grid(pixel_grid(), frame, render(turned[None], [1])).valid.any()


def test_an_object_that_the_seed_does_not_have_is_not_valid():
    frame = render(pose_at(0, 0, 0.8)[None], [1])
    assert not pose_grid(pixel_grid(), frame, render(pose_at(0, 0, 0.8)[None], [2])).valid.any()


def test_unknown_depth_is_not_valid():
    frame = render(pose_at(0, 0, 0.8)[None], [1], coordinates=False)
    blind = frame._replace(depth=torch.zeros_like(frame.depth))
    assert pose_grid(pixel_grid(), frame, frame).valid.any()
    assert not pose_grid(pixel_grid(), blind, frame).valid.any()
    assert not pose_grid(pixel_grid(), frame, blind).valid.any()
    nan = frame._replace(depth=torch.full_like(frame.depth, torch.nan))
    assert not pose_grid(pixel_grid(), nan, frame).valid.any()


def test_cells_without_a_position_stay_without():
    frame = render(pose_at(0, 0, 0.8)[None], [1])
    everywhere = pixel_grid()
    half = ViewGrid.from_points(everywhere.points, everywhere.points[..., 0] < WIDTH / 2)
    expected = pose_grid(everywhere, frame, frame).valid & half.valid
    assert torch.equal(pose_grid(half, frame, frame).valid, expected)
    outside = ViewGrid.from_boxes(torch.tensor([[-90.0, 0, -10, 80]]), (4, 4))
    assert not pose_grid(outside, frame, frame).valid.any()


def test_matches_are_the_nearest_cells_of_the_carried_points():
    frame = render(torch.stack([pose_at(-0.1, 0, 0.8), pose_at(0.1, 0, 0.8)]), [1, 2])
    seed = render(torch.stack([pose_at(0, 0.05, 0.9), pose_at(0.2, 0, 0.7)]), [1, 2])
    grid_a, grid_b = (
        ViewGrid.from_boxes(torch.tensor([box], dtype=torch.float64), (7, 7))
        for box in ([0, 0, 40, 36], [8, 4, 48, 36])
    )
    matches = pose_matches(grid_a, frame, grid_b, seed, 20)
    expected = location_matches(pose_grid(grid_a, frame, seed), grid_b, 20)
    assert matches.valid.any()
    for got, wanted in zip(matches, expected, strict=True):
        assert torch.equal(got, wanted)


def stack(frames):
    return PosedFrames(*(torch.cat(parts) for parts in zip(*frames, strict=True)))


def test_samples_of_a_batch_are_independent():
    frames = [render(torch.stack([pose_at(x, 0, 0.8), pose_at(0.1, x, 0.9)]), [1, 2]) for x in (-0.1, 0.0, 0.1)]
    seeds = frames[1:] + frames[:1]
    grid = ViewGrid.cat([pixel_grid()] * 3)
    together = pose_grid(grid, stack(frames), stack(seeds))
    for index, (frame, seed) in enumerate(zip(frames, seeds, strict=True)):
        alone = pose_grid(pixel_grid(), frame, seed)
        assert torch.equal(together.points[index], alone.points[0])
        assert torch.equal(together.valid[index], alone.valid[0])


def single(frame):
    return PosedFrames(*(part.float() if part.is_floating_point() else part for part in frame))


def test_single_precision_and_autocast_stay_exact():
    frame = render(pose_at(-0.1, 0, 0.8)[None], [1])
    seed = render(pose_at(0.05, 0.02, 0.9)[None], [1])
    exact = pose_grid(pixel_grid(), frame, seed)
    grid = pixel_grid()._replace(points=pixel_grid().points.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = pose_grid(grid, single(frame), single(seed))
    both = got.valid & exact.valid
    assert both.sum() > 0.95 * exact.valid.sum()
    torch.testing.assert_close(got.points[both].double(), exact.points[both], rtol=0, atol=1e-3)


def test_compiles_to_one_graph():
    frame = render(pose_at(-0.1, 0, 0.8)[None], [1])
    seed = render(pose_at(0.05, 0.02, 0.9)[None], [1])
    grid = ViewGrid.from_boxes(torch.tensor([[0.0, 0, WIDTH, HEIGHT]]), (6, 8))
    compiled = torch.compile(pose_matches, fullgraph=True, backend="aot_eager")
    for got, expected in zip(
        compiled(grid, frame, grid, seed, 12), pose_matches(grid, frame, grid, seed, 12), strict=True
    ):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("tolerance", [0.001, 0.5])
def test_the_tolerance_decides_what_is_hidden(tolerance):
    frame = render(pose_at(0, 0, 0.8)[None], [1], coordinates=False)
    nearer = frame._replace(depth=frame.depth.where(frame.depth == 0, frame.depth - 0.01))
    assert pose_grid(pixel_grid(), frame, nearer, tolerance=tolerance).valid.any() == (tolerance > 0.01)
