"""Images and labels as tensors: their size, and their random changes.

Images are tensors of values from 0 to 1. What a backbone wants them normalised with is the backbone's own, and done
there.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

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
            multiple of 32 pixels: objects have the scale of prediction, at a part of the cost. It lies about a random
            pixel of an object, where there is one. 1 takes the whole image.
        jitter: Strength of the change of brightness, contrast and saturation, 0 for none; hue changes by a quarter.
        grayscale: Probability of a grey image.
        blur: Probability of a Gaussian blur.
        webcam: Probability of what a cheap camera does to a picture: strong contrast and colours, an off white balance
            and gamma, noise, and edges that are sharpened with it.
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
    webcam: float = 0.0
    copy_paste: float = 0.0
    clutter: float = 0.0

    def __post_init__(self) -> None:
        """Check what the types do not say."""
        for name in ("flip", "grayscale", "blur", "webcam", "copy_paste", "clutter"):
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

    def geometry(self, size: tuple[int, int]) -> v2.Compose:
        """Return the changes that label and segments follow: to ``size``, or to a window of it."""
        if self.crop_scale != (1.0, 1.0):
            aspect = size[1] / size[0]
            low, high = self.crop_ratio
            steps: list[v2.Transform] = [
                v2.RandomResizedCrop(size, self.crop_scale, (low * aspect, high * aspect), antialias=True)
            ]
        else:
            steps = [v2.Resize(size, antialias=True)]
        if self.zoom != (1.0, 1.0):
            steps.append(_Zoom(*self.zoom))
        if self.rotation:
            steps.append(v2.RandomRotation(self.rotation, v2.InterpolationMode.BILINEAR))
        if self.flip:
            steps.append(v2.RandomHorizontalFlip(self.flip))
        if self.window < 1 or self.zoom != (1.0, 1.0):
            # Rounded first: two thirds of 192 are 128, whatever the binary fraction says.
            cells = [max(round(self.window * side, 3) // _CELL, 1) * _CELL for side in size]
            window = [min(int(part), side) for part, side in zip(cells, size, strict=True)]
            steps.append(_ObjectWindow(*(size if self.window == 1 else window)))
        return v2.Compose(steps)

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
        if self.webcam:
            steps.append(v2.RandomApply([_Webcam()], self.webcam))
        return v2.Compose([*steps, v2.ToPureTensor()])


class _Zoom(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Another size, drawn uniformly: torchvision's ``ScaleJitter`` takes height for width where they differ."""

    def __init__(self, smallest: float, largest: float) -> None:
        super().__init__()
        self.range = (smallest, largest)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, list[int]]:
        scale = float(_uniform(*self.range))
        return {"size": [max(round(scale * side), 1) for side in v2.functional.get_size(flat_inputs[0])]}

    def transform(self, inpt: Any, params: dict[str, list[int]]) -> Any:
        return self._call_kernel(v2.functional.resize, inpt, **params, antialias=True)


class _ObjectWindow(v2.Transform):  # type: ignore[misc]
    """A random window of an image, about a random pixel whose label is above 0 where the labels hold one."""

    _OFFSET = 0.3

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, list[int]]:
        extent = v2.functional.get_size(flat_inputs[0])
        masks = [item for item in flat_inputs if isinstance(item, tv_tensors.Mask)]
        found = masks[0].nonzero() if masks else torch.zeros(0, 2)
        # An image that is smaller than the window stands in its middle, on nothing.
        missing = [max(window - side, 0) for side, window in zip(extent, self.size, strict=True)]
        padding = [missing[1] // 2, missing[0] // 2, missing[1] - missing[1] // 2, missing[0] - missing[0] // 2]
        room = torch.tensor([max(side - window, 0) for side, window in zip(extent, self.size, strict=True)])
        if len(found):
            pixel = found[int(torch.randint(len(found), ()))]
            offset = torch.tensor(self.size) * (self._OFFSET * _uniform(-1, 1, 2) - 0.5)
            corner = (pixel + offset).round().clamp(min=torch.zeros(2), max=room)
        else:
            corner = (torch.rand(2) * (room + 1)).floor()
        return {"padding": padding, "corner": [int(side) for side in corner]}

    def transform(self, inpt: Any, params: dict[str, list[int]]) -> Any:
        padded = self._call_kernel(v2.functional.pad, inpt, padding=params["padding"])
        return self._call_kernel(v2.functional.crop, padded, *params["corner"], *self.size)


class _Webcam(v2.Transform):  # type: ignore[misc]
    """What a cheap camera does to a picture with values from 0 to 1."""

    _transformed_types = (tv_tensors.Image,)

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:  # noqa: ARG002
        image = inpt
        gain, gamma, contrast, color, noise, edges = (float(_uniform(*span)) for span in self._SPANS)
        image = gain * _uniform(0.85, 1.15, 3)[:, None, None] * image
        image = contrast * (image - image.mean()) + image.mean()
        grey = v2.functional.rgb_to_grayscale(image)
        image = (grey + color * (image - grey)).clamp(0, 1) ** gamma
        image = image + noise * torch.randn(image.shape)
        smooth = v2.functional.gaussian_blur(image, [5, 5], [1.0, 1.0])
        picture: Tensor = tv_tensors.wrap((image + edges * (image - smooth)).clamp(0, 1), like=inpt)
        return picture

    # Gain, gamma, contrast, colours, noise, edges.
    _SPANS = ((0.7, 1.3), (0.7, 1.4), (0.8, 1.6), (0.8, 1.7), (0.0, 0.06), (0.0, 2.0))


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
