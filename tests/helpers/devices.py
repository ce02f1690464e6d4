"""A device without values, on which whatever waits for the host fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class NoTransfers(TorchDispatchMode):
    """Raises where a tensor is copied between the host and the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            devices = {t.device for t in (*args, result) if isinstance(t, Tensor)}
            if len(devices) > 1:
                raise RuntimeError(f"{func} copies between {devices}")
        return result


@contextmanager
def without_the_host() -> Iterator[None]:
    with NoTransfers():
        yield
