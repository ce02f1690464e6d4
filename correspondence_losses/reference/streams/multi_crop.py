"""How many views are cut, of which sizes, and what is done to their colours (section 4.2)."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torchvision.transforms import v2

from correspondence_losses.reference.streams.crop import Crop

__all__ = ["ColorDistortion", "MultiCrop"]


@dataclass(frozen=True, kw_only=True)
class ColorDistortion:
    """Random changes of a view's colours, each drawn for each view.

    The thesis names the changes and no strengths; the defaults are those customary in this family of methods.

    Args:
        brightness: Strength of the change of brightness.
        contrast: Strength of the change of contrast.
        saturation: Strength of the change of saturation.
        hue: Strength of the change of hue, at most 0.5.
        jitter: Probability of these four.
        grayscale: Probability of a grey image.
        blur: Probability of a Gaussian blur.
        blur_sigma: Range of its standard deviation, in pixels of the view.
        solarize: Probability that values above the middle are inverted.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    jitter: float = 0.8
    grayscale: float = 0.2
    blur: float = 0.5
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarize: float = 0.1

    def __post_init__(self) -> None:
        """Check what the types do not say."""
        _check_probabilities(self, "jitter", "grayscale", "blur", "solarize")

    def build(self) -> v2.Compose:
        """Return the transform from ``uint8`` views to ``float32`` ones with values from 0 to 1."""
        jitter = v2.ColorJitter(self.brightness, self.contrast, self.saturation, self.hue)
        kernel = 2 * round(3 * self.blur_sigma[1]) + 1
        return v2.Compose([
            v2.RandomApply([jitter], self.jitter),
            v2.RandomGrayscale(self.grayscale),
            v2.RandomApply([v2.GaussianBlur(kernel, self.blur_sigma)], self.blur),
            v2.RandomSolarize(128, self.solarize),
            v2.ToDtype(torch.float32, scale=True),
        ])  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MultiCrop:
    """The views of a set; the defaults are the thesis's: 2 of 224 x 224 and 6 of 96 x 96 pixels.

    Args:
        num_large: Number of large views.
        num_small: Number of small views.
        large_size: Side of the large views, in pixels; a multiple of ``stride``.
        small_size: Side of the small views.
        scale: Range of a crop's area, as a part of the image's.
        ratio: Range of a crop's aspect ratio, as a factor on the image's own.
        flip: Probability of a horizontal flip.
        stride: Pixels of a view to a cell of its feature map: 32 gives 7 x 7 and 3 x 3 cells.
        distortion: What is done to the colours.

    Raises:
        ValueError: A number is out of range, or a size is not a multiple of the stride.

    Example:
        >>> crops = MultiCrop()
        >>> crops.cells(crops.large_size), crops.cells(crops.small_size)
        (7, 3)
    """

    num_large: int = 2
    num_small: int = 6
    large_size: int = 224
    small_size: int = 96
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    stride: int = 32
    distortion: ColorDistortion = field(default_factory=ColorDistortion)

    def __post_init__(self) -> None:
        """Check what the types do not say."""
        if self.num_large < 1 or self.num_small < 0 or self.num_large + self.num_small < 2:
            raise ValueError(
                f"num_large must be at least 1, and with num_small at least 2, got {self.num_large} and "
                f"{self.num_small}"
            )
        if self.stride < 1:
            raise ValueError(f"stride must be at least 1, got {self.stride}")
        for name in ("large_size", "small_size"):
            size = getattr(self, name)
            if size < 1 or size % self.stride:
                raise ValueError(f"{name} must be a multiple of the stride, {self.stride}, got {size}")
        for name in ("scale", "ratio"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be a range above 0, got {(low, high)}")
        if self.scale[1] > 1:
            raise ValueError(f"scale must end at 1 or below, got {self.scale}")
        _check_probabilities(self, "flip")

    def cells(self, size: int) -> int:
        """Return the cells along each side of the feature map of a view of this size."""
        return size // self.stride

    def draw(self, image: Tensor) -> Crop:
        """Draw one crop of an image (3, H, W) from torch's global generator."""
        return Crop.draw(image, self.scale, self.ratio, self.flip)


def _check_probabilities(settings: object, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(settings, name) <= 1:
            raise ValueError(f"{name} must be a probability, in [0, 1], got {getattr(settings, name)}")
