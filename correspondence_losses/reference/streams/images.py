"""Images and labels as tensors: their size, and their random changes.

Images are tensors of values from 0 to 1. What a backbone wants them normalised with is the backbone's own, and done
there.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from correspondence_losses.reference.streams.placement import Placement

__all__ = ["Augmentation", "as_image", "as_mask", "image_to_tensor"]

_CELL = 32


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes of a training image; label and segments follow the geometric ones.

    Args:
        crop_scale: Range of a random crop's area, as a part of the image's; (1, 1) takes the whole image.
        crop_ratio: Range of the crop's aspect ratio, as a factor on the image's own.
        zoom: Range of a random change of scale; below 1 the background is seen around the image.
        rotation: Greatest rotation, degrees.
        flip: Probability of a horizontal flip.
        window: Height and width of a random window that is trained on, as a part of the image's, rounded down to a
            multiple of 32 pixels: objects have the scale of prediction, at a part of the cost. It lies about the
            objects, where there are any. 1 takes the whole image.
        jitter: Strength of the change of brightness, contrast and saturation, 0 for none; hue changes by a quarter.
        grayscale: Probability of a grey image.
        blur: Probability of a Gaussian blur.
        camera: Probability of what another camera makes of the same light: exposure, contrast, saturation, white
            balance and gamma.
        sensor: Probability of what a cheap camera does to a picture: blur, noise and sharpened edges, each in half of
            the cases.
        copy_paste: Probability that objects of another labelled image are pasted onto a labelled one (Ghiasi et al.
            2021, "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation").
        clutter: Probability that shapes with pictures and plain colours stand behind the objects of a labelled image,
            and that of fewer and smaller ones before them.

    Raises:
        ValueError: A number is out of range.
    """

    crop_scale: tuple[float, float] = (1.0, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    zoom: tuple[float, float] = (1.0, 1.0)
    rotation: float = 0.0
    flip: float = 0.0
    window: float = 1.0
    jitter: float = 0.0
    grayscale: float = 0.0
    blur: float = 0.0
    camera: float = 0.0
    sensor: float = 0.0
    copy_paste: float = 0.0
    clutter: float = 0.0

    def __post_init__(self) -> None:
        """Check what the types do not say."""
        for name in ("flip", "grayscale", "blur", "camera", "sensor", "copy_paste", "clutter"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a probability, in [0, 1], got {getattr(self, name)}")
        for name in ("crop_scale", "crop_ratio", "zoom"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be a range above 0, got {(low, high)}")
        for name in ("rotation", "jitter"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 < self.window <= 1:
            raise ValueError(f"window must lie in (0, 1], got {self.window}")

    def build(self, size: tuple[int, int]) -> v2.Compose:
        """Return the transform from ``uint8`` images of any size to tensors of ``size``, or of a window of it."""
        return v2.Compose([self.geometry(size), self.colors()])

    def geometry(self, size: tuple[int, int]) -> Placement:
        """Return the changes that label and segments follow: to ``size``, or to a window of it."""
        # Rounded first: two thirds of 192 are 128, whatever the binary fraction says.
        cells = [max(int(round(self.window * side, 3)) // _CELL, 1) * _CELL for side in size]
        window = size if self.window == 1 else (min(cells[0], size[0]), min(cells[1], size[1]))
        return Placement(
            size,
            window,
            crop_scale=self.crop_scale,
            crop_ratio=self.crop_ratio,
            zoom=self.zoom,
            rotation=self.rotation,
            flip=self.flip,
        )

    def colors(self) -> v2.Compose:
        """Return the changes of colours, from ``uint8`` to values from 0 to 1."""
        steps: list[v2.Transform] = []
        if self.jitter:
            steps.append(v2.ColorJitter(self.jitter, self.jitter, self.jitter, self.jitter / 4))
        if self.grayscale:
            steps.append(v2.RandomGrayscale(self.grayscale))
        if self.blur:
            steps.append(v2.RandomApply([v2.GaussianBlur(5, (0.1, 2.0))], self.blur))
        steps.append(_TO_FLOAT)
        if self.camera:
            steps.append(v2.RandomApply([_Camera()], self.camera))
        if self.sensor:
            steps.append(v2.RandomApply([_Sensor()], self.sensor))
        return v2.Compose([*steps, v2.ToPureTensor()])


class _Camera(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """What another camera makes of the light of a picture with values from 0 to 1."""

    _transformed_types = (tv_tensors.Image,)

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:  # noqa: ARG002
        exposure, contrast, saturation, gamma = (_uniform(*span) for span in self._SPANS)
        image = exposure * inpt.as_subclass(Tensor)  # a dozen operations, and each costs more on a tv_tensor
        mean = image.mean()
        image = contrast * (image - mean) + mean
        grey = v2.functional.rgb_to_grayscale(image)
        image = (grey + saturation * (image - grey)) * _uniform(0.85, 1.15, 3)[:, None, None]
        picture: Tensor = tv_tensors.wrap(image.clamp(0, 1) ** gamma, like=inpt)
        return picture

    _SPANS = ((0.6, 1.4), (0.6, 1.6), (0.6, 1.7), (0.7, 1.4))


class _Sensor(v2.Transform):  # type: ignore[misc]
    """What a cheap camera does to a picture with values from 0 to 1."""

    _transformed_types = (tv_tensors.Image,)

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:  # noqa: ARG002
        pixels = np.ascontiguousarray(inpt.permute(1, 2, 0).numpy())
        blurred, correlated, sharpened = (bool(torch.rand(()) < 0.5) for _ in range(3))
        if blurred:
            pixels = _smoothed(pixels, 0.3, 1.2)
        noise = (_uniform(0, 0.06) * torch.randn(pixels.shape)).numpy()
        pixels = pixels + (1.5 * cv2.GaussianBlur(noise, (0, 0), 0.6) if correlated else noise)
        if sharpened:
            pixels = pixels + float(_uniform(0.3, 2)) * (pixels - _smoothed(pixels, 0.7, 1.5))
        picture: Tensor = tv_tensors.wrap(torch.from_numpy(pixels).permute(2, 0, 1).clamp(0, 1), like=inpt)
        return picture


def _smoothed(pixels: NDArray[Any], least: float, most: float) -> NDArray[Any]:
    return cv2.GaussianBlur(pixels, (0, 0), float(_uniform(least, most)))


def _uniform(low: float, high: float, *shape: int) -> Tensor:
    return low + (high - low) * torch.rand(shape)


_TO_FLOAT = v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True)


def image_to_tensor(image: NDArray[np.uint8], size: tuple[int, int]) -> Tensor:
    """An (H, W, 3) image as a (3, *size) tensor of values from 0 to 1, without augmentation."""
    tensor: Tensor = v2.Compose([v2.Resize(size, antialias=True), _TO_FLOAT, v2.ToPureTensor()])(as_image(image))
    return tensor


def as_image(image: NDArray[np.uint8]) -> tv_tensors.Image:
    """Return an (H, W, c) image as what the transforms take for one."""
    return tv_tensors.Image(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1))


def as_mask(labels: NDArray[np.integer]) -> tv_tensors.Mask:
    """Return (H, W) labels as what the transforms take for such: they are moved, and never interpolated."""
    return tv_tensors.Mask(torch.from_numpy(labels.astype(np.int64)))
