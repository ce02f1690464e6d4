"""Argument checks: one line each, and errors that name the argument, what it got and what it wants.

The checks read shapes, dtypes and devices, never values, so they cost no synchronisation and trace under
``torch.compile``. Only :func:`check_labels` looks at values, and only in host memory.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def check_tensor(name: str, tensor: object) -> None:
    """Raise ``TypeError`` unless ``tensor`` is a tensor."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")


def check_floating(name: str, tensor: Tensor) -> None:
    """Raise ``TypeError`` unless ``tensor`` is a floating-point tensor."""
    check_tensor(name, tensor)
    if not tensor.is_floating_point():
        raise TypeError(f"{name} must be a floating-point tensor, got {tensor.dtype}")


def check_integer(name: str, tensor: Tensor) -> None:
    """Raise ``TypeError`` unless ``tensor`` holds integers (``bool`` is a mask, not an integer)."""
    check_tensor(name, tensor)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"{name} must be an integer tensor, got {tensor.dtype}")


def check_bool(name: str, tensor: Tensor) -> None:
    """Raise ``TypeError`` unless ``tensor`` is boolean."""
    check_tensor(name, tensor)
    if tensor.dtype != torch.bool:
        raise TypeError(f"{name} must be a bool tensor, got {tensor.dtype}")


def check_rank(name: str, tensor: Tensor, rank: int, wanted: str, *, exact: bool = True) -> None:
    """Raise ``ValueError`` unless ``tensor`` has ``rank`` dimensions, or at least that many if not ``exact``."""
    check_tensor(name, tensor)
    if tensor.ndim < rank or (exact and tensor.ndim > rank):
        raise ValueError(f"{name} must have shape {wanted}, got {tuple(tensor.shape)}")


def check_shape(name: str, tensor: Tensor, shape: Sequence[int], wanted: str) -> None:
    """Raise ``ValueError`` unless ``tensor`` has exactly ``shape``; ``wanted`` says where that shape comes from."""
    check_tensor(name, tensor)
    if tuple(tensor.shape) != tuple(shape):
        raise ValueError(f"{name} must have shape {tuple(shape)} ({wanted}), got {tuple(tensor.shape)}")


def check_feature_map(name: str, features: Tensor, channels: int) -> None:
    """Raise unless ``features`` is a feature map ``(b, channels, h, w)`` with something in it."""
    check_floating(name, features)
    check_rank(name, features, 4, f"(b, {channels}, h, w)")
    check_shape(name, features, (features.shape[0], channels, *features.shape[2:]), f"{channels} channels")
    check_not_empty(name, features)


def check_feature_maps(name: str, maps: Sequence[Tensor], channels: Sequence[int]) -> None:
    """Raise unless ``maps`` holds one feature map for each of ``channels``, all of one batch and device."""
    if not isinstance(maps, Sequence):
        raise TypeError(f"{name} must be a sequence of feature maps, got {type(maps).__name__}")
    if len(maps) != len(channels):
        raise ValueError(f"{name} must hold {len(channels)} maps, got {len(maps)}")
    for index, (features, width) in enumerate(zip(maps, channels, strict=True)):
        check_feature_map(f"{name}[{index}]", features, width)
        check_shape(f"{name}[{index}]", features, (maps[0].shape[0], *features.shape[1:]), f"batch of {name}[0]")
        check_same_device(f"{name}[{index}]", features, f"{name}[0]", maps[0])


def check_channels(name: str, channels: Sequence[int]) -> None:
    """Raise unless ``channels`` holds the number of channels of at least one level."""
    if not isinstance(channels, Sequence):
        raise TypeError(f"{name} must be a sequence with the channels of each level, got {type(channels).__name__}")
    if len(channels) == 0:
        raise ValueError(f"{name} must name at least one level, got none")
    for index, count in enumerate(channels):
        check_count(f"{name}[{index}]", count)


def check_size(name: str, size: Sequence[int]) -> None:
    """Raise unless ``size`` holds a height and a width of at least 1."""
    if len(size) != 2:
        raise ValueError(f"{name} must be (height, width), got {tuple(size)}")
    for index, length in enumerate(size):
        check_count(f"{name}[{index}]", length)


def check_segments(name: str, segments: Tensor, features_name: str, features: Tensor) -> None:
    """Raise unless ``segments`` is a label map (..., H, W), or masks (..., s, H, W), of features (..., d, H, W)."""
    check_tensor(name, segments)
    leading, image = features.shape[:-3], features.shape[-2:]
    if segments.dtype == torch.bool:
        check_rank(name, segments, features.ndim, "(..., s, H, W), a stack of masks")
        wanted = f"a stack of masks for {features_name}"
        check_shape(name, segments, (*leading, segments.shape[-3], *image), wanted)
    else:
        check_integer(name, segments)
        check_shape(name, segments, (*leading, *image), f"a label map for {features_name}")
    check_same_device(name, segments, features_name, features)


def check_not_empty(name: str, tensor: Tensor) -> None:
    """Raise ``ValueError`` if any dimension of ``tensor`` is 0."""
    if tensor.numel() == 0:
        raise ValueError(f"{name} must not be empty, got shape {tuple(tensor.shape)}")


def check_vectors(name: str, vectors: Tensor, valid: Tensor | None, wanted: str = "(..., n, d)") -> None:
    """Raise unless ``vectors`` are floating point, of two dimensions or more, and ``valid`` says which count."""
    check_floating(name, vectors)
    check_rank(name, vectors, 2, wanted, exact=False)
    check_not_empty(name, vectors)
    if valid is not None:
        check_bool("valid", valid)
        check_shape("valid", valid, vectors.shape[:-1], f"that of {name} without its last dimension")
        check_same_device("valid", valid, name, vectors)


def check_vector_pair(z1: Tensor, z2: Tensor, valid: Tensor | None, wanted: str = "(..., n, d)") -> None:
    """Raise unless :func:`check_vectors` admits ``z1``, and ``z2`` are such vectors too, of its shape."""
    check_vectors("z1", z1, valid, wanted)
    check_floating("z2", z2)
    check_shape("z2", z2, z1.shape, "that of z1")
    check_same_device("z2", z2, "z1", z1)


def check_same_device(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    """Raise ``ValueError`` unless both tensors lie on one device."""
    if tensor.device != other.device:
        raise ValueError(f"{name} must be on the device of {other_name}, {other.device}, got {tensor.device}")


def check_positive(name: str, value: float, *, zero: bool = False) -> None:
    """Raise ``ValueError`` unless ``value`` is above 0, or not below it if ``zero`` is allowed."""
    if not (value >= 0 if zero else value > 0):
        raise ValueError(f"{name} must be {'at least' if zero else 'above'} 0, got {value}")


def check_count(name: str, value: int) -> None:
    """Raise ``TypeError`` unless ``value`` is an integer, and ``ValueError`` if it is below 1."""
    if isinstance(value, bool) or not isinstance(value, (int, torch.SymInt)):  # torch 2.6 compiles no unions
        raise TypeError(f"{name} must be an int, got {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")


def check_labels(name: str, labels: Tensor, num_labels: int) -> bool:
    """Raise ``ValueError`` if a label in host memory is outside ``[0, num_labels)``; return whether all were seen.

    On an accelerator the check would stall the device, and ``torch.compile`` and ``torch.func`` have no values
    to look at: there it is left out.
    """
    if labels.device.type != "cpu" or torch.compiler.is_compiling() or labels.numel() == 0:
        return False
    if torch._C._functorch.is_functorch_wrapped_tensor(labels):
        return False
    low, high = labels.long().aminmax()  # there is none of uint16 and its like
    if low < 0 or high >= num_labels:
        raise ValueError(f"{name} must lie in [0, {num_labels}), got values from {int(low)} to {int(high)}")
    return True
