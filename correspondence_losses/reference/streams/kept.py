"""Decoded files of a stream, kept from one pass over the frames to the next."""

from collections.abc import Callable, Hashable
from typing import Any

from numpy.typing import NDArray

__all__ = ["KeptArrays"]

_MOST_BYTES = 2**28


class KeptArrays:
    """Arrays by key, each made once as long as they fit: decoding an image takes longer than most that follows.

    What is kept stays: a pass over more frames than fit would drop each of them before it came again.

    Args:
        most_bytes: What the arrays may take in each process that reads them.

    Example:
        >>> import numpy as np
        >>> kept = KeptArrays()
        >>> bool((kept.get("two", lambda: np.full(2, 2)) == kept.get("two", lambda: np.zeros(2))).all())
        True
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._left = most_bytes
        self._arrays: dict[Hashable, NDArray[Any]] = {}

    def get(self, key: Hashable, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return the array of a key, made where it is not kept. It is shared, and must not be changed."""
        array = self._arrays.get(key)
        if array is None:
            array = make()
            if array.nbytes <= self._left:
                self._left -= array.nbytes
                self._arrays[key] = array
        return array
