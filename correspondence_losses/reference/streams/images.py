"""Images and labels as tensors: their size, their random changes, their normalisation."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Augmentation", "as_image", "as_mask", "image_to_tensor"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes of a training image; label and segments follow the geometric ones.

    Args:
        crop_scale: Range of a random crop's area, as a part of the image's; (1, 1) takes the whole image.
        crop_ratio: Range of the crop's aspect ratio, as a factor on the image's own.
        flip: Probability of a horizontal flip.
        jitter: Strength of the change of brightness, contrast and saturation, 0 for none; hue changes by a quarter.
        grayscale: Probability of a grey image.
        blur: Probability of a Gaussian blur.
    """

    crop_scale: tuple[float, float] = (1.0, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.0
    jitter: float = 0.0
    grayscale: float = 0.0
    blur: float = 0.0

    def build(self, size: tuple[int, int]) -> v2.Compose:
        """Return the transform to images of ``size``, normalised as the backbones want them."""
        if self.crop_scale == (1.0, 1.0):
            geometry: v2.Transform = v2.Resize(size, antialias=True)
        else:
            aspect = size[1] / size[0]
            low, high = self.crop_ratio
            geometry = v2.RandomResizedCrop(size, self.crop_scale, (low * aspect, high * aspect), antialias=True)
        steps: list[v2.Transform] = [geometry]
        if self.flip:
            steps.append(v2.RandomHorizontalFlip(self.flip))
        if self.jitter:
            steps.append(v2.ColorJitter(self.jitter, self.jitter, self.jitter, self.jitter / 4))
        if self.grayscale:
            steps.append(v2.RandomGrayscale(self.grayscale))
        if self.blur:
            steps.append(v2.RandomApply([v2.GaussianBlur(5, (0.1, 2.0))], self.blur))
        return v2.Compose([*steps, *_NORMALIZE])


_NORMALIZE = (
    v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
    v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
)


def image_to_tensor(image: NDArray[np.uint8], size: tuple[int, int]) -> Tensor:
    """An (H, W, 3) image as a normalised (3, *size) tensor, without augmentation."""
    tensor: Tensor = v2.Compose([v2.Resize(size, antialias=True), *_NORMALIZE])(as_image(image))
    return tensor.as_subclass(Tensor)


def as_image(image: NDArray[np.uint8]) -> tv_tensors.Image:
    """Return an (H, W, 3) image as what the transforms take for one."""
    return tv_tensors.Image(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1))


def as_mask(labels: NDArray[np.integer]) -> tv_tensors.Mask:
    """Return (H, W) labels as what the transforms take for such: they are moved, and never interpolated."""
    return tv_tensors.Mask(torch.from_numpy(labels.astype(np.int64)))
