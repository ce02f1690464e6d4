"""Poses, labels, depth and object coordinates of real YCB-Video frames, carried from the first to the later ones."""

import os
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from correspondence_losses.correspond import PosedFrames, ViewGrid, pose_grid, pose_matches

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = Path(os.environ.get("CORRESPONDENCE_LOSSES_YCB", ROOT.parent / "shared" / "ycb_video_sample"))
HEIGHT, WIDTH = 480, 640

pytestmark = pytest.mark.skipif(
    not (SAMPLE / "data" / "0000").is_dir(), reason=f"no YCB-Video sample at {SAMPLE} (CORRESPONDENCE_LOSSES_YCB)"
)


def load(name):
    """A frame in the data set's original layout: its posed frame, and its colours (H, W, 3) in 0 to 1."""
    stem = SAMPLE / "data" / name
    meta = scipy.io.loadmat(f"{stem}-meta.mat")
    depth = np.asarray(Image.open(f"{stem}-depth.png")) / meta["factor_depth"].item()
    frame = PosedFrames(
        labels=torch.from_numpy(np.asarray(Image.open(f"{stem}-label.png")).astype(np.int64))[None],
        object_ids=torch.from_numpy(meta["cls_indexes"].astype(np.int64)).reshape(1, -1),
        poses=torch.from_numpy(meta["poses"].astype(np.float64)).permute(2, 0, 1)[None],
        intrinsics=torch.from_numpy(meta["intrinsic_matrix"].astype(np.float64))[None],
        depth=torch.from_numpy(depth)[None],
        object_coordinates=torch.from_numpy(meta["vertmap"].astype(np.float64))[None],
    )
    return frame, torch.from_numpy(np.asarray(Image.open(f"{stem}-color.png"))[..., :3] / 255)


def pixel_grid():
    return ViewGrid.from_boxes(torch.tensor([[0.0, 0, WIDTH, HEIGHT]], dtype=torch.float64), (HEIGHT, WIDTH))


def read(image, points):
    """The values of an image ``(H, W, ...)`` at the pixels that hold the points ``(n, 2)``."""
    x, y = points.long().unbind(-1)
    return image[y, x]


@pytest.mark.parametrize("video", ["0000", "0001", "0002", "0049"])
def test_object_coordinates_lie_where_the_convention_of_pixels_says(video):
    """What vertmap holds at pixel i projects to i + 0.5 in positions that count from the corner of the image."""
    name = sorted((SAMPLE / "data" / video).glob("*-meta.mat"))[0].name.removesuffix("-meta.mat")
    frame, _ = load(f"{video}/{name}")
    for object_id, pose in zip(frame.object_ids[0], frame.poses[0], strict=True):
        shown = frame.labels[0] == object_id
        camera = frame.object_coordinates[0][shown] @ pose[:, :3].T + pose[:, 3]
        projected = camera @ frame.intrinsics[0].T
        error = projected[:, :2] / projected[:, 2:] + 0.5 - pixel_grid().points[0][shown]
        assert error.abs().quantile(0.99) < 0.01


@pytest.mark.parametrize("later", ["000003", "000005", "000007", "000009"])
@pytest.mark.parametrize("maps", ["depth", "object_coordinates", "both"])
def test_pixels_of_the_first_frame_are_found_in_later_ones(later, maps):
    frames = [load("0000/000001"), load(f"0000/{later}")]
    dropped = {"depth": {"object_coordinates": None}, "object_coordinates": {"depth": None}, "both": {}}[maps]
    (frame, colours), (seed, seed_colours) = ((posed._replace(**dropped), image) for posed, image in frames)
    carried = pose_grid(pixel_grid(), frame, seed)
    valid = carried.valid[0]
    points = carried.points[0][valid]
    on_objects = frame.labels[0] > 0
    assert not valid[~on_objects].any()
    # Real depth has holes over some 8 % of the objects' pixels, each of which costs its partner too.
    assert valid.sum() > (0.95 if maps == "object_coordinates" else 0.75) * on_objects.sum()
    assert torch.equal(read(seed.labels[0], points), frame.labels[0][valid])

    # The object's surface at the point that was found is the surface that was carried there, as vertmap knows it. A
    # pixel is a millimetre wide and its neighbour may lie on another side of an edge, so most, not all, agree.
    surface = read(frames[1][0].object_coordinates[0], points) - frames[0][0].object_coordinates[0][valid]
    distance = surface.norm(dim=-1)
    assert distance.median() < 0.002
    assert distance.quantile(0.95) < 0.01

    # The camera moves slowly: what a point looks like stays, far better than at a place beside it.
    def colour_error(at):
        return (read(seed_colours, at) - colours[valid]).abs().mean(dim=-1).median()

    beside = points + torch.tensor([12.0, 0.0])
    assert colour_error(points) < 0.05
    assert colour_error(points) < 0.6 * colour_error(beside.clamp(max=torch.tensor([WIDTH - 1.0, HEIGHT - 1.0])))


def test_matches_of_two_crops_of_two_frames():
    (frame, _), (seed, _) = load("0000/000001"), load("0000/000009")
    rows, columns = (frame.labels[0] > 0).nonzero().unbind(-1)
    box = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])[None]
    grid_a = ViewGrid.from_boxes(box, (7, 7))
    grid_b = ViewGrid.from_boxes(box + torch.tensor([[10, 5, 20, -5]]), (7, 7), horizontal_flip=torch.tensor([True]))
    matches = pose_matches(grid_a, frame, grid_b, seed, num_matches=15)
    assert matches.valid.all()
    carried = pose_grid(grid_a, frame, seed).points.flatten(1, 2)[0, matches.index_a[0]]
    centres = grid_b.points.flatten(1, 2)[0, matches.index_b[0]]
    torch.testing.assert_close(matches.distance[0], (carried - centres).norm(dim=-1).float())
    half_a_cell = (grid_b.points[0, 1, 1] - grid_b.points[0, 0, 0]).norm() / 2
    assert matches.distance.max() <= half_a_cell
