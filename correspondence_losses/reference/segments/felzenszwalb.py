"""Graph-based segmentation, which needs no checkpoint."""

from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import felzenszwalb

from correspondence_losses.reference.segments.segmenter import Segmenter, check_image


class FelzenszwalbSegmenter(Segmenter):
    """Felzenszwalb and Huttenlocher's segmentation, from scikit-image.

    It groups pixels of similar colour, knows nothing of objects, and serves where no checkpoint of Segment Anything
    is at hand. Every pixel is in exactly one segment. The defaults are chosen for 640 x 480 photographs.

    Args:
        scale: How unlike its surroundings a segment must be; larger gives larger segments.
        sigma: Standard deviation in pixels of the Gaussian that smooths the image before.
        min_size: Segments with fewer pixels are merged into a neighbour.

    Raises:
        ValueError: A setting is out of range.

    Example:
        >>> image = np.zeros((32, 32, 3), np.uint8)
        >>> image[:, 16:] = 255
        >>> masks = FelzenszwalbSegmenter(sigma=0.0, min_size=50)(image)
        >>> [int(mask.sum()) for mask in masks]
        [512, 512]

    Source:
        Felzenszwalb and Huttenlocher 2004, Efficient Graph-Based Image Segmentation.
    """

    name = "felzenszwalb"

    def __init__(self, *, scale: float = 200.0, sigma: float = 0.8, min_size: int = 400) -> None:
        if not scale > 0:
            raise ValueError(f"scale must be above 0, got {scale}")
        if not sigma >= 0:
            raise ValueError(f"sigma must be at least 0, got {sigma}")
        if min_size < 1:
            raise ValueError(f"min_size must be at least 1, got {min_size}")
        self.scale = float(scale)
        self.sigma = float(sigma)
        self.min_size = int(min_size)

    def __call__(self, image: NDArray[np.uint8]) -> list[NDArray[np.bool_]]:
        """Segment an (H, W, 3) ``uint8`` image into disjoint masks that cover it.

        Raises:
            ValueError: ``image`` is something else.
        """
        check_image(image)
        labels = felzenszwalb(image, scale=self.scale, sigma=self.sigma, min_size=self.min_size, channel_axis=-1)
        return [labels == label for label in np.unique(labels)]

    def settings(self) -> dict[str, str | int | float]:
        """Return the three arguments."""
        return {"scale": self.scale, "sigma": self.sigma, "min_size": self.min_size}

    def versions(self) -> dict[str, str]:
        """Return the version of scikit-image."""
        return {"scikit-image": version("scikit-image")}
