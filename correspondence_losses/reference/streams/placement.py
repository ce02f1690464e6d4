"""Where a training image shows its source: crop, scale, rotation, mirror and window, as one affine map.

One map means one interpolation: each further one would blur what is learnt from, and the images that are predicted on
are sharp.
"""

import math
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

__all__ = ["Placement"]

_OFFSET = 0.3  # of the window: how far from its middle the point lies that it is cut about
_SIGMA = 0.35  # of the Gaussian before an image is made smaller, in pixels of the result


class Placement(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """A random affine map to images (RGB, or RGBA with colours not premultiplied) of one size; labels follow.

    The window is cut near the objects, which are the pixels above 0 of the first mask: near the point halfway between
    a random one of these pixels and the centroid of all of them. A window that is smaller than the image lies inside
    it; a larger one holds the whole image, and is 0 outside of it.

    Args:
        size: (H, W) that a whole image is resized to.
        window: (h, w) of the result.
        crop_scale: Range of a random crop's area, as a part of the image's.
        crop_ratio: Range of the crop's aspect ratio, as a factor on the image's own.
        zoom: Range of a further change of scale, whose logarithm is uniform.
        rotation: Greatest rotation about the window's middle, degrees.
        flip: Probability of a mirror image.
    """

    _transformed_types = (tv_tensors.Image, tv_tensors.Mask)

    def __init__(
        self,
        size: tuple[int, int],
        window: tuple[int, int],
        *,
        crop_scale: tuple[float, float],
        crop_ratio: tuple[float, float],
        zoom: tuple[float, float],
        rotation: float,
        flip: float,
    ) -> None:
        super().__init__()
        self.size, self.window = size, window
        aspect = size[1] / size[0]
        self.crop = None
        if crop_scale != (1.0, 1.0):
            self.crop = v2.RandomResizedCrop(size, crop_scale, (crop_ratio[0] * aspect, crop_ratio[1] * aspect))
        self.zoom, self.rotation, self.flip = zoom, rotation, flip

    def make_params(self, flat_inputs: list[Any]) -> dict[str, NDArray[np.float64]]:
        """Draw the map: (2, 3), from points of the source to points of the result, (x, y) in pixels."""
        height, width = v2.functional.get_size(flat_inputs[0])
        top, left, rows, columns = 0, 0, height, width
        if self.crop is not None:
            crop = self.crop.make_params(flat_inputs)
            top, left, rows, columns = crop["top"], crop["left"], crop["height"], crop["width"]
        zoom = math.exp(_uniform(math.log(self.zoom[0]), math.log(self.zoom[1])))
        scale = zoom * np.array([self.size[1] / columns, self.size[0] / rows])
        extent = zoom * np.array([self.size[1], self.size[0]])
        masks = [item for item in flat_inputs if isinstance(item, tv_tensors.Mask)]
        about = scale * (_point_of_objects(masks, (height, width)) - [left, top])
        window = np.array([self.window[1], self.window[0]])
        offset = np.array([_uniform(-_OFFSET, _OFFSET), _uniform(-_OFFSET, _OFFSET)])
        room = extent - window
        corner = np.clip(about + (offset - 0.5) * window, np.minimum(room, 0), np.maximum(room, 0)).round()
        placed = np.array([[scale[0], 0, -scale[0] * left - corner[0]], [0, scale[1], -scale[1] * top - corner[1]]])
        angle = math.radians(_uniform(-self.rotation, self.rotation))
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        placed[:, 2] -= window / 2
        placed = turn @ placed
        if torch.rand(()) < self.flip:
            placed[0] *= -1
        placed[:, 2] += window / 2
        return {"map": placed}

    def transform(self, inpt: Tensor, params: dict[str, NDArray[np.float64]]) -> Tensor:
        """Move an image, smoothed first where it becomes smaller, or labels."""
        matrix = params["map"].copy()
        matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5  # a pixel's centre lies at half its width
        window = (self.window[1], self.window[0])
        if isinstance(inpt, tv_tensors.Mask):
            labels = cv2.warpAffine(inpt.to(torch.int32).numpy(), matrix, window, flags=cv2.INTER_NEAREST)
            mask: Tensor = tv_tensors.Mask(torch.from_numpy(labels).to(inpt.dtype))
            return mask
        pixels = np.ascontiguousarray(inpt.permute(1, 2, 0).numpy())
        transparent = pixels.shape[2] == 4 and int(pixels[..., 3].min()) < 255
        if transparent:  # colours count by how much of them is seen, or hidden ones would show at the border
            pixels = _weighted(pixels, pixels[..., 3:].astype(np.float32) / 255)
        scale = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
        if scale < 1:
            pixels = cv2.GaussianBlur(pixels, (0, 0), _SIGMA * math.sqrt(1 / scale**2 - 1) + 1e-3)
        # Interpolated with zeros, the image would be darker at its border.
        moved = cv2.warpAffine(pixels, matrix, window, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        inside = cv2.warpAffine(np.ones(pixels.shape[:2], np.uint8), matrix, window, flags=cv2.INTER_NEAREST)
        moved[inside == 0] = 0
        if transparent:
            moved = _weighted(moved, 255 / np.maximum(moved[..., 3:], 1)).round().clip(0, 255).astype(np.uint8)
        image: Tensor = tv_tensors.Image(torch.from_numpy(moved).permute(2, 0, 1))
        return image


def _weighted(pixels: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
    """Return (H, W, 4) with its colours times a weight (H, W, 1)."""
    weighted: NDArray[Any] = pixels * weight
    weighted[..., 3] = pixels[..., 3]
    return weighted


def _point_of_objects(masks: list[tv_tensors.Mask], size: tuple[int, int]) -> NDArray[np.float64]:
    """Return (x, y) among the objects of the first mask, or a random point of the image where there are none."""
    found = masks[0].nonzero() if masks else torch.zeros(0, 2)
    if not len(found):
        return np.array([_uniform(0, size[1]), _uniform(0, size[0])])
    pixel = found[int(torch.randint(len(found), ()))].float()
    y, x = ((pixel + found.float().mean(0)) / 2 + 0.5).tolist()
    return np.array([x, y])


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
