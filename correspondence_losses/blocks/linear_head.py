"""The linear head that judges a backbone's features (section 2.3)."""

import torch.nn.functional as F
from torch import Tensor, nn

from correspondence_losses._checks import check_count, check_feature_map


class LinearHead(nn.Module):
    """A linear classifier on each cell of a feature map, and bilinear upsampling of its logits to the image.

    Args:
        in_channels: Channels of the feature map.
        num_classes: Number of classes.

    Example:
        >>> import torch
        >>> LinearHead(64, num_classes=22)(torch.randn(1, 64, 15, 20), size=(480, 640)).shape
        torch.Size([1, 22, 480, 640])

    Source:
        Sections 2.3 and 4.1.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        check_count("in_channels", in_channels)
        check_count("num_classes", num_classes)
        self.in_channels = in_channels
        self.classifier = nn.Conv2d(in_channels, num_classes, kernel_size=1)

    def forward(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """Classify each pixel.

        Args:
            features: Feature map, ``(b, in_channels, h, w)``.
            size: Height and width ``(H, W)`` of the logits.

        Returns:
            Logits, ``(b, num_classes, H, W)``.

        Raises:
            TypeError: If the features are not floating-point, or a size is not an integer.
            ValueError: If the features are not ``(b, in_channels, h, w)`` or empty, or a size is below 1.
        """
        check_feature_map("features", features, self.in_channels)
        for index, length in enumerate(size):
            check_count(f"size[{index}]", length)
        logits: Tensor = self.classifier(features)
        return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
