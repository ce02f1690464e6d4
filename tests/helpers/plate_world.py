"""Frames of square plates in space, exact in every pixel, as a data set in memory."""

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from correspondence_losses.correspond import ColorDistortion, MultiCrop
from correspondence_losses.reference.data import CLASS_NAMES, Frame, FrameSource, SolidBackground
from correspondence_losses.reference.streams import ViewStream

HALF = 0.1
INTRINSICS = np.array([[150.0, 0, 79.5], [0, 150.0, 59.5], [0, 0, 1]])
SIZE = (120, 160)


def plate_frame(poses, *, background=0, size=SIZE):
    """Plates of class 1, 2, ... by their (3, 4) poses; None leaves one out. Their colour is the place on the plate."""
    height, width = size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(INTRINSICS).T
    depth, label = np.full(size, np.inf), np.zeros(size, np.uint8)
    coordinates = np.zeros((*size, 3))
    ids = [i for i, pose in enumerate(poses, 1) if pose is not None]
    for object_id in ids:
        rotation, translation = poses[object_id - 1][:, :3], poses[object_id - 1][:, 3]
        origin, directions = rotation.T @ translation, rays @ rotation
        z = origin[2] / directions[..., 2]
        points = z[..., None] * directions - origin
        seen = (z > 0) & (z < depth) & (np.abs(points[..., :2]).max(-1) < HALF)
        depth, label = np.where(seen, z, depth), np.where(seen, object_id, label).astype(np.uint8)
        coordinates = np.where(seen[..., None], points, coordinates)
    image = np.full((*size, 3), background, np.uint8)
    color = np.stack([*np.moveaxis(120 + 1200 * coordinates[..., :2], -1, 0), 60 * label.astype(float)], -1)
    image[label > 0] = color[label > 0].round().astype(np.uint8)
    return Frame(
        image=image,
        label=label,
        depth=np.where(label > 0, depth, 0).astype(np.float32),
        object_ids=np.array(ids, dtype=np.int64),
        poses=np.array([poses[i - 1] for i in ids]).reshape(-1, 3, 4),
        intrinsics=INTRINSICS,
        object_coordinates=coordinates.astype(np.float32),
    )


def pose(rng, x=0.0):
    """A plate in front of the camera, turned by less than a right angle."""
    turn = Rotation.from_euler("zxy", [rng.uniform(-3, 3), *rng.uniform(-0.5, 0.5, 2)]).as_matrix()
    return np.c_[turn, [x, 0.0, rng.uniform(0.5, 0.7)]]


class MemorySource(FrameSource):
    """Frames by name, and a record of which were read."""

    layout = "memory"
    class_names = CLASS_NAMES

    def __init__(self, frames, root="memory"):
        self.root, self._frames, self.read = Path(root), frames, []
        self.background = SolidBackground()

    def splits(self):
        return ["train"]

    def frames(self, split):
        return list(self._frames)

    def cutout(self, frame):
        return self._frames[frame].image

    def label(self, frame):
        return self._frames[frame].label

    def frame(self, frame, seed=0):
        self.read.append(frame)
        return self._frames[frame]


class MemoryCache:
    """Stands for a SegmentCache."""

    def __init__(self, segments):
        self.segments = segments

    def load(self, frame, size=None):
        return self.segments[frame]


PLAIN = ColorDistortion(jitter=0, grayscale=0, blur=0, solarize=0)
CROPS = MultiCrop(large_size=64, small_size=48, stride=16, distortion=PLAIN)


def world(seed=0):
    """A seed frame with two plates, its pair, single objects, other frames, and the segments of the seed."""
    rng = np.random.default_rng(seed)
    poses = [pose(rng, -0.13), pose(rng, 0.13)]
    home = plate_frame(poses)
    source = MemorySource({"data/0000/000001": home}, "home")
    pairs = MemorySource({"data/0000/000001": plate_frame(poses, background=200)}, "pairs")
    singles = MemorySource(
        {
            "data/0001/000001": plate_frame([pose(rng), None], background=90),
            "data/0002/000001": plate_frame([None, pose(rng)], background=90),
        },
        "singles",
    )
    others = MemorySource(
        {f"data/0000/{i:06d}": plate_frame([pose(rng, -0.13), pose(rng, 0.13)]) for i in (2, 3)}, "home"
    )
    # Segments: the halves of each plate, and the background in two.
    x = np.arange(SIZE[1])[None]
    segments = np.where(home.label > 0, 10 * home.label + (home.object_coordinates[..., 0] > 0), 1 + (x > 80))
    cache = MemoryCache({"data/0000/000001": segments.astype(np.uint16)})
    return source, pairs, singles, others, cache


def stream(arrangement, source, cache=None, seed=0, crops=CROPS, **options):
    frames = [(source, name, cache) for name in source.frames("train")]
    return ViewStream(frames, arrangement, crops=crops, seed=seed, **options)
