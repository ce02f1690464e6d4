"""Values on their way from an accelerator to the host, which goes on until they are read."""

import torch
from torch import Tensor

__all__ = ["HostCopy"]


class HostCopy:
    """A copy of values on the host.

    ``values.tolist()`` waits until a GPU has done all that it was given; this waits for the values alone.

    Args:
        values: On any device (n,). They may change afterwards.
    """

    def __init__(self, values: Tensor) -> None:
        values = values.detach()
        self._values = values.to("cpu", non_blocking=True) if values.is_cuda else values.to("cpu", copy=True)
        self._copied = torch.cuda.Event() if values.is_cuda else None  # type: ignore[no-untyped-call]
        if self._copied is not None:
            self._copied.record()

    def read(self) -> list[float]:
        """Wait for the copy, and return the values as numbers."""
        if self._copied is not None:
            self._copied.synchronize()
        numbers: list[float] = self._values.tolist()
        return numbers
