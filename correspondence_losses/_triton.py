"""When Triton kernels replace the plain PyTorch path."""

import functools
import importlib.util
import os
import shutil

import torch
from torch import Tensor

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_SWITCH = "CORRESPONDENCE_LOSSES_TRITON"
_COMPILERS = (os.environ.get("CC", "cc"), "gcc", "clang")
_INSTALLED = importlib.util.find_spec("triton") is not None and any(map(shutil.which, _COMPILERS))
_OLDEST_CAPABILITY = (8, 0)


def use_triton(tensor: Tensor) -> bool:
    """Whether the kernels take this tensor: a CUDA tensor of up to float32, where Triton and a C compiler are there.

    They are for NVIDIA's compute capability 8.0 and newer, which they were tested for. With
    ``CORRESPONDENCE_LOSSES_TRITON=0`` in the environment they take none. ``torch.compile`` makes its own kernels from
    the plain path. With ``TRITON_INTERPRET=1`` they take CPU tensors too, in Triton's interpreter.
    """
    if torch.compiler.is_compiling() or not _INSTALLED or tensor.dtype not in _DTYPES:
        return False
    there = _is_new_enough(tensor.device) if tensor.is_cuda else os.environ.get("TRITON_INTERPRET") == "1"
    return there and os.environ.get(_SWITCH) != "0"


@functools.cache
def _is_new_enough(device: torch.device) -> bool:
    return torch.version.hip is None and torch.cuda.get_device_capability(device) >= _OLDEST_CAPABILITY
