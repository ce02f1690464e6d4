"""YCB-Video in its original layout."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from correspondence_losses.reference.data.background import BackgroundLike, as_background
from correspondence_losses.reference.data.checks import check_label, check_size, read_frame_list
from correspondence_losses.reference.data.errors import DataError
from correspondence_losses.reference.data.files import read_color, read_gray8, read_gray16, read_size
from correspondence_losses.reference.data.source import SPLITS, Frame, FrameSource
from correspondence_losses.reference.data.ycb_classes import CLASS_NAMES
from correspondence_losses.reference.data.ycb_meta import read_meta
from correspondence_losses.reference.files import read_text

_VAL_VIDEOS = range(48, 60)
_FRAME_ID = re.compile(r"(data/[0-9]{4}|data_syn)/[0-9]{6}")
_COLOR = "-color.png"


class YCBVideo(FrameSource):
    """YCB-Video as its authors published it.

    ::

        data/NNNN/FFFFFF-{color,depth,label}.png, FFFFFF-meta.mat    videos 0000 to 0091
        data_syn/FFFFFF-...                                          the same, rendered, colour with transparency
        image_sets/{train,val,keyframe,classes}.txt                  each may be absent

    A split is what its list in ``image_sets`` names. Without the list, ``train`` is every frame that is there of the
    videos 0 to 47 and 60 to 91, and ``val`` of 48 to 59; there are no key frames without their list. ``synthetic``
    is all of ``data_syn``, which no list names. Poses are in the frame of the original models.

    Args:
        root: The folder that holds ``data`` or ``data_syn``.
        background: What to put behind the synthetic images, as :func:`~.background.as_background` takes it.

    Raises:
        DataError: Neither folder is there, the list of classes is another one, or the background cannot be read.

    Source:
        Xiang et al. 2017, PoseCNN.
    """

    layout = "ycb-video"

    def __init__(self, root: Path | str, *, background: BackgroundLike = None) -> None:
        self.root = Path(root)
        self.class_names = CLASS_NAMES
        self.background = as_background(background)
        if not self.is_here(self.root):
            raise DataError(f"{self.root}: holds neither data/NNNN with frames nor data_syn")
        classes = self.root / "image_sets" / "classes.txt"
        if classes.exists() and tuple(read_text(classes, DataError).split()) != CLASS_NAMES[1:]:
            raise DataError(f"{classes}: is not the list of the 21 objects of YCB-Video")

    @staticmethod
    def is_here(root: Path) -> bool:
        """Say whether ``root`` holds this layout."""
        return bool(_videos(root)) or (root / "data_syn").is_dir()

    def splits(self) -> list[str]:
        """Return the splits that have a list or a video of theirs, and ``synthetic`` where ``data_syn`` is."""
        videos = [int(video.name) for video in _videos(self.root)]
        present = {
            "train": any(video not in _VAL_VIDEOS for video in videos),
            "val": any(video in _VAL_VIDEOS for video in videos),
            "keyframe": False,
            "synthetic": (self.root / "data_syn").is_dir(),
        }
        return [split for split in SPLITS if present[split] or self._list(split).exists()]

    def frames(self, split: str) -> list[str]:
        """Return the ids of a split: in the order of its list, or by video and frame."""
        self._check_split(split)
        if split == "synthetic":
            return [f"data_syn/{stem}" for stem in _stems(self.root / "data_syn")]
        if self._list(split).exists():
            return self._listed(self._list(split))
        videos = [video for video in _videos(self.root) if (int(video.name) in _VAL_VIDEOS) == (split == "val")]
        return [f"data/{video.name}/{stem}" for video in videos for stem in _stems(video)]

    def cutout(self, frame: str) -> NDArray[np.uint8]:
        """Return the image of a frame: (H, W, 3) RGB, or RGBA of a synthetic one."""
        return read_color(self._file(frame, _COLOR))

    def label(self, frame: str) -> NDArray[np.uint8]:
        """Return the (H, W) class of each pixel."""
        path, color = self._file(frame, "-label.png"), self._file(frame, _COLOR)
        label = read_gray8(path)
        check_label(path, label)
        check_size(path, label, read_size(color), color)
        return label

    def frame(self, frame: str, seed: int = 0) -> Frame:
        """Return all that is known about a frame."""
        image, color = self.image(frame, seed), self._file(frame, _COLOR)
        depth_path, meta_path = self._file(frame, "-depth.png"), self._file(frame, "-meta.mat")
        depth = read_gray16(depth_path)
        check_size(depth_path, depth, image.shape, color)
        meta = read_meta(meta_path)
        coordinates = meta.object_coordinates
        if coordinates is not None and coordinates.shape != image.shape:
            raise DataError(f"{meta_path}: vertmap must have shape {image.shape}, got {coordinates.shape}")
        return Frame(
            image=image,
            label=self.label(frame),
            depth=(depth / meta.depth_factor).astype(np.float32),
            object_ids=meta.object_ids,
            poses=meta.poses,
            intrinsics=meta.intrinsics,
            object_coordinates=coordinates,
        )

    def _file(self, frame: str, ending: str) -> Path:
        if not _FRAME_ID.fullmatch(frame):
            raise ValueError(f"frame must look like data/0049/000001 or data_syn/000001, got {frame!r}")
        return self.root / f"{frame}{ending}"

    def _list(self, split: str) -> Path:
        return self.root / "image_sets" / f"{split}.txt"

    def _listed(self, path: Path) -> list[str]:
        # One listing of each folder, where a look at each of 100,000 files would take minutes on a network drive.
        entries = read_frame_list(path)
        present = {video: set(_stems(self.root / "data" / f"{video:04d}")) for video, _ in entries}
        for video, number in entries:
            if f"{number:06d}" not in present[video]:
                missing = self.root / "data" / f"{video:04d}" / f"{number:06d}{_COLOR}"
                raise DataError(f"{missing}: is missing, but {path} names it")
        return [f"data/{video:04d}/{number:06d}" for video, number in entries]


def _videos(root: Path) -> list[Path]:
    return sorted(path for path in (root / "data").glob("[0-9]" * 4) if path.is_dir())


def _stems(folder: Path) -> list[str]:
    return sorted(path.name.removesuffix(_COLOR) for path in folder.glob("[0-9]" * 6 + _COLOR))
