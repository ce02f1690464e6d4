"""``masks``: segment images beforehand."""

from collections.abc import Sequence
from pathlib import Path

from correspondence_losses.reference.commands import call, print_missing
from correspondence_losses.reference.segments import missing_segments, presegment_folder


def missing(
    data: Path,
    cache_dir: Path,
    splits: list[str] | None = None,
    unlabeled: bool = False,
    limit: int | None = None,
) -> None:
    """Print the frames whose segments are not there yet; exit with 1 if there are any.

    Args:
        data: The folder of YCB-Video, in its original layout or in BOP's.
        cache_dir: The folder of their segments.
        splits: Which splits; by default all that are there.
        unlabeled: ``data`` is a plain folder of images instead.
        limit: Only so many frames of each split.
    """
    print_missing(missing_segments(data, cache_dir, splits=splits, unlabeled=unlabeled, limit=limit))


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    if arguments[:1] == ["missing"]:
        call(missing, "masks missing", arguments[1:])
    else:
        call(presegment_folder, "masks", arguments)
