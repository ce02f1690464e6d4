"""Parts of a job that several processes share, such as an array job of a scheduler."""

import re
from collections.abc import Sequence
from typing import TypeVar

__all__ = ["shard_of"]

_T = TypeVar("_T")


def shard_of(items: Sequence[_T], shard: str | None) -> Sequence[_T]:
    """Return a part of items: every N-th of them, from the I-th on.

    Args:
        items: In the same order in all processes.
        shard: ``"I/N"``, with I from 1 to N. Default: all items.

    Raises:
        ValueError: ``shard`` is not such a part.

    Example:
        >>> shard_of("abcdefg", "1/3"), shard_of("abcdefg", "3/3"), shard_of("abcdefg", None)
        ('adg', 'cf', 'abcdefg')
    """
    if shard is None:
        return items
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", shard)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(f"shard must be I/N, with I from 1 to N, such as 1/4, got {shard!r}")
    return items[int(match[1]) - 1 :: int(match[2])]
