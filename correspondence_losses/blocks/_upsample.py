"""Bilinear resizing of feature maps."""

import torch
from torch import Tensor
from torch.nn import functional as F


def upsample(feature_map: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Return the map (b, c, h, w) at another size, as ``F.interpolate`` with ``mode="bilinear"`` does.

    On an accelerator it is two matrix products, which are several times as fast, and whose gradient needs no atomic
    additions.
    """
    if feature_map.device.type == "cpu":
        return F.interpolate(feature_map, size=size, mode="bilinear", align_corners=False)
    return by_products(feature_map, size)


def by_products(feature_map: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """The same by products, with the channels innermost if they are so in the map."""
    b, c, h, w = feature_map.shape
    height, width = size
    rows, columns = _weights(h, height, feature_map), _weights(w, width, feature_map)
    if feature_map.is_contiguous(memory_format=torch.channels_last):
        pixels = feature_map.permute(0, 2, 3, 1)
        tall = torch.bmm(rows.expand(b, -1, -1), pixels.reshape(b, h, w * c))
        resized = torch.bmm(columns.expand(b * height, -1, -1), tall.view(b * height, w, c))
        return resized.view(b, height, width, c).permute(0, 3, 1, 2)
    wide = torch.mm(feature_map.reshape(b * c * h, w), columns.mT)
    return torch.bmm(rows.expand(b * c, -1, -1), wide.view(b * c, h, width)).view(b, c, height, width)


def _weights(old: int, new: int, like: Tensor) -> Tensor:
    """The weight (new, old) of each old cell for each new one."""
    cells, positions = (
        torch.arange(count, device=like.device, dtype=torch.promote_types(like.dtype, torch.float32))
        for count in (old, new)
    )
    centres = ((positions + 0.5) * (old / new) - 0.5).clamp(0, old - 1)
    return (1 - (centres[:, None] - cells).abs()).relu().to(like.dtype)
