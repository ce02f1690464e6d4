"""Multi-crop views with their grids, ready for VICRegL (section 4.2)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from correspondence_losses._checks import check_count, check_positive
from correspondence_losses.correspond.view_grid import ViewGrid

__all__ = ["ColorDistortion", "MultiCrop"]


@dataclass(frozen=True, kw_only=True)
class ColorDistortion:
    """Random changes of a view's colours, drawn for each view.

    The thesis names the changes but not their strengths; the defaults are those customary in this family of methods.

    Args:
        brightness: Strength of the change of brightness.
        contrast: Strength of the change of contrast.
        saturation: Strength of the change of saturation.
        hue: Strength of the change of hue, at most 0.5.
        jitter: Probability of these four.
        grayscale: Probability of a grey image.
        blur: Probability of a Gaussian blur.
        blur_sigma: Range of its standard deviation, in pixels of the view.
        solarize: Probability of inverting values above the middle.

    Raises:
        ValueError: If a probability is not in [0, 1].

    Example:
        >>> ColorDistortion(blur=0.0).blur
        0.0
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

    def build(self) -> Any:
        """Return the transform of torchvision v2 from ``uint8`` views to distorted ``float32`` ones in [0, 1].

        Raises:
            ModuleNotFoundError: If torchvision is not installed.
        """
        v2 = _transforms()
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
    """Large and small crops of each image of a batch, with the grids that say where their cells lie in the image.

    The defaults are the thesis's: 2 views of 224 x 224 and 6 of 96 x 96 pixels, which cover 0.08 to 1 of the image's
    area at 3/4 to 4/3 of its aspect ratio, with random flips, colour jitter, blur, solarisation and grey. Values are
    in [0, 1]: normalise them as your backbone was trained, before or inside it. It needs torchvision.

    Call it on the images in the training loop, or let the workers of a data loader do so::

        loader = DataLoader(images, batch_size=32, num_workers=8, collate_fn=MultiCrop())
        for views, grids in loader: ...

    Args:
        num_large: Number of large views.
        num_small: Number of small views.
        large_size: Side of the large views, in pixels; a multiple of ``stride``.
        small_size: Side of the small views, in pixels; a multiple of ``stride``.
        scale: Range of a crop's area, as a share of the image's.
        ratio: Range of a crop's aspect ratio, as a factor on the image's own.
        flip: Probability of a horizontal flip.
        stride: Pixels of a view for each cell of its feature map: 32 gives 7 x 7 and 3 x 3 cells.
        distortion: How colours are changed.

    Raises:
        ValueError: If a number is out of range, or a size is not a multiple of the stride.

    Source:
        Thesis, sec. 4.2; Caron et al., "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments",
        2020, which introduced multi-crop.

    Example:
        >>> images = torch.randint(0, 256, (4, 3, 240, 320), dtype=torch.uint8)
        >>> views, grids = MultiCrop()(images)
        >>> [tuple(view.shape) for view in views[1:3]], [grid.size for grid in grids[1:3]]
        ([(4, 3, 224, 224), (4, 3, 96, 96)], [(7, 7), (3, 3)])
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
        check_count("num_large", self.num_large)
        check_positive("num_small", self.num_small, zero=True)
        if self.num_large + self.num_small < 2:
            raise ValueError(
                f"num_large and num_small must be at least 2 together, got {self.num_large} and {self.num_small}"
            )
        check_count("stride", self.stride)
        for name in ("large_size", "small_size"):
            size = getattr(self, name)
            check_count(name, size)
            if size % self.stride:
                raise ValueError(f"{name} must be a multiple of the stride, {self.stride}, got {size}")
        for name in ("scale", "ratio"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be a range above 0, got {(low, high)}")
        if self.scale[1] > 1:
            raise ValueError(f"scale must end at 1 or below, got {self.scale}")
        _check_probabilities(self, "flip")

    def __call__(self, images: Tensor | Sequence[Any]) -> tuple[list[Tensor], list[ViewGrid]]:
        """Draw the views of each image from torch's global generator.

        Args:
            images: A batch (b, c, H, W), or a sequence of images of any sizes: PIL images, or tensors (c, H, W),
                ``uint8`` or floating point in [0, 1].

        Returns:
            The views, large ones first, (b, c, s, s) each, float32 in [0, 1], and their grids.

        Raises:
            ModuleNotFoundError: If torchvision is not installed.
            ValueError: If there are no images.
        """
        if len(images) == 0:
            raise ValueError("images must hold at least one image, got none")
        sizes = [self.large_size] * self.num_large + [self.small_size] * self.num_small
        drawn = [[self._draw(image, size) for size in sizes] for image in images]
        of_views = list(zip(*drawn, strict=True))
        views = [torch.stack([view for view, _ in of_images]) for of_images in of_views]
        return views, [ViewGrid.cat([grid for _, grid in of_images]) for of_images in of_views]

    def cells(self, size: int) -> int:
        """Return the number of cells along each side of the feature map of a view of this size."""
        return size // self.stride

    def _draw(self, image: Any, size: int) -> tuple[Tensor, ViewGrid]:
        v2 = _transforms()
        height, width = v2.functional.get_size(image)
        ratio = (self.ratio[0] * width / height, self.ratio[1] * width / height)
        transform = v2.Compose([
            v2.ToImage(),
            v2.ToDtype(torch.uint8, scale=True),
            v2.RandomResizedCrop(size, self.scale, ratio, antialias=True),
            v2.RandomHorizontalFlip(self.flip),
            self.distortion.build(),
            v2.ToPureTensor(),
        ])  # fmt: skip
        view, grid = ViewGrid.from_transform(transform, image, (self.cells(size), self.cells(size)))
        return view, grid


def _transforms() -> Any:
    try:
        from torchvision.transforms import v2
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "MultiCrop needs torchvision, which is not installed: pip install torchvision"
        ) from error
    return v2


def _check_probabilities(settings: object, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(settings, name) <= 1:
            raise ValueError(f"{name} must be a probability, in [0, 1], got {getattr(settings, name)}")
