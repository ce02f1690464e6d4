"""Segmenting the frames of a data set once, and keeping the result."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from correspondence_losses import __version__
from correspondence_losses.functional import paint_masks
from correspondence_losses.reference.data import BackgroundLike, FrameSource, ImageFolder, open_dataset
from correspondence_losses.reference.progress import progress_bar
from correspondence_losses.reference.segments.cache import SegmentCache
from correspondence_losses.reference.segments.sam import SAMSegmenter
from correspondence_losses.reference.segments.segmenter import Segmenter
from correspondence_losses.reference.shards import shard_of


def presegment(
    source: FrameSource,
    frames: Sequence[str],
    cache_dir: Path | str,
    segmenter: Segmenter,
    *,
    min_area: int = 0,
    progress: bool = True,
) -> SegmentCache:
    """Segment frames and write their label maps to a cache; frames that are there already are skipped.

    Stopped at any moment and called again, it goes on where it was. Transparent images are segmented on the background
    of seed 0.

    Args:
        source: The data set.
        frames: Ids of its frames.
        cache_dir: The folder of the cache, begun if there is none.
        segmenter: What makes the masks, which :func:`~correspondence_losses.functional.paint_masks` paints.
        min_area: Masks with fewer pixels are left out.
        progress: Show a progress bar.

    Returns:
        The cache, which holds all of ``frames``.

    Raises:
        DataError: An image is missing or damaged, or the cache was made by other settings.
        OSError: A file of the cache cannot be written.
        ValueError: ``min_area`` is negative, a frame is not one of the source, or an image has more segments than
            the cache can hold, 65,535.

    Source:
        Sec. 4.5.1 of the thesis.
    """
    if min_area < 0:
        raise ValueError(f"min_area must be at least 0, got {min_area}")
    identity = {"segmenter": segmenter.name, "settings": segmenter.settings(), "min_area": min_area}
    versions = {"correspondence-losses": __version__, **segmenter.versions()}
    cache = SegmentCache.open_or_create(cache_dir, identity, versions)
    missing = [frame for frame in dict.fromkeys(frames) if frame not in cache]
    stage = f"segmenting ({segmenter.name})"
    for frame in progress_bar(missing, stage=stage, unit="image", shown=progress and bool(missing)):
        image = source.image(frame)
        cache.save(frame, _segments(segmenter, image, min_area))
    return cache


def presegment_folder(
    data: Path,
    cache_dir: Path,
    *,
    segmenter: Segmenter | None = None,
    splits: list[str] | None = None,
    unlabeled: bool = False,
    background: BackgroundLike = None,
    min_area: int = 0,
    limit: int | None = None,
    shard: str | None = None,
    progress: bool = True,
) -> None:
    """Segment YCB-Video, or a folder of images, into a cache of label maps.

    Args:
        data: The folder of YCB-Video, in its original layout or in BOP's.
        cache_dir: The folder for the segments; a cache that is there is continued.
        segmenter: What makes the masks; by default Segment Anything with the settings of the thesis.
        splits: Which splits; by default all that are there.
        unlabeled: ``data`` is a plain folder of images instead.
        background: What to put behind transparent images.
        min_area: Masks with fewer pixels are left out.
        limit: Only so many frames of each split.
        shard: Segment every N-th frame from the I-th on, I/N, while other jobs segment the others. Default: all.
        progress: Show a progress bar.

    Raises:
        DataError: The data cannot be read, or the cache was made by other settings.
        OSError: A file of the cache cannot be written.
        SAMCheckpointError: The default segmenter has no checkpoint, and it cannot be downloaded.
        ValueError: There is no such split, a number is negative, or ``shard`` is not I/N.
    """
    source, frames = _opened(data, splits, unlabeled, background, limit)
    frames = shard_of(frames, shard)
    presegment(source, frames, cache_dir, segmenter or SAMSegmenter(), min_area=min_area, progress=progress)


def missing_segments(
    data: Path,
    cache_dir: Path,
    *,
    splits: list[str] | None = None,
    unlabeled: bool = False,
    limit: int | None = None,
) -> list[str]:
    """Return the frames whose segments are not there yet; the command prints them, and exits with 1 if there are any.

    Args:
        data: The folder of YCB-Video, in its original layout or in BOP's.
        cache_dir: The folder of their segments.
        splits: Which splits; by default all that are there.
        unlabeled: ``data`` is a plain folder of images instead.
        limit: Only so many frames of each split.
    """
    _, frames = _opened(data, splits, unlabeled, None, limit)
    cache = SegmentCache(cache_dir)
    return [frame for frame in frames if frame not in cache]


def _opened(
    data: Path, splits: list[str] | None, unlabeled: bool, background: BackgroundLike, limit: int | None
) -> tuple[FrameSource, Sequence[str]]:
    """Return a data set, and its frames of the splits, each once."""
    if limit is not None and limit < 0:
        raise ValueError(f"limit must be at least 0, got {limit}")
    opener = ImageFolder if unlabeled else open_dataset
    source = opener(data, background=background)
    frames = (frame for split in splits or source.splits() for frame in source.frames(split)[:limit])
    return source, list(dict.fromkeys(frames))


def _segments(segmenter: Segmenter, image: NDArray[np.uint8], min_area: int) -> NDArray[np.uint16]:
    labels = paint_masks(segmenter(image), image.shape[:2], min_area=min_area).numpy()
    if labels.max() > np.iinfo(np.uint16).max:
        raise ValueError(f"segments must be at most {np.iinfo(np.uint16).max}, got {labels.max()}")
    return labels.astype(np.uint16)
