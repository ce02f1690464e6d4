"""Arrays that a stream keeps."""

import numpy as np

from correspondence_losses.reference.streams.kept import KeptArrays


def test_arrays_that_fit_are_made_once_and_others_each_time() -> None:
    made: list[str] = []
    kept = KeptArrays(most_bytes=150)

    def get(key: str) -> None:
        kept.get(key, lambda: made.append(key) or np.zeros(100, np.uint8))

    for key in ("first", "second", "first", "second"):
        get(key)
    assert made == ["first", "second", "second"]
