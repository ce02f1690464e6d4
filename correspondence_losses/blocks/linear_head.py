"""The linear head that evaluates a backbone's features (section 2.3)."""

from collections.abc import Sequence

from torch import Tensor, nn

from correspondence_losses._checks import check_channels, check_count, check_feature_maps, check_size
from correspondence_losses._settings import ModuleWithSettings
from correspondence_losses.blocks._upsample import upsample
from correspondence_losses.blocks.head_output import HeadOutput

__all__ = ["LinearHead"]


class LinearHead(ModuleWithSettings):
    """A linear classifier of each cell of the coarsest map, with its logits upsampled to the image.

    It has the contract of all heads: see :class:`~correspondence_losses.blocks.HeadOutput`. ``features`` is the
    backbone's coarsest map, and ``pyramid`` its maps as they are.

    Args:
        in_channels: Channels of the backbone's maps, finest first; the last is used.
        num_classes: Number of classes.

    Shape:
        features: one map (b, in_channels[i], h_i, w_i) for each level, finest first. size: (H, W). Returns
        :class:`~correspondence_losses.blocks.HeadOutput`.

    Raises:
        TypeError, ValueError: If the settings, the maps or the size do not fit this.

    Source:
        Sections 2.3 and 4.1.

    Example:
        >>> import torch
        >>> LinearHead([64], num_classes=22)([torch.randn(1, 64, 15, 20)], size=(480, 640)).logits.shape
        torch.Size([1, 22, 480, 640])
    """

    def __init__(self, in_channels: Sequence[int], num_classes: int) -> None:
        super().__init__()
        check_channels("in_channels", in_channels)
        check_count("num_classes", num_classes)
        self.in_channels = tuple(in_channels)
        self.num_classes = num_classes
        self.out_channels = self.in_channels[-1]
        self.pyramid_channels = self.in_channels
        self.classifier = nn.Conv2d(self.out_channels, num_classes, kernel_size=1)

    def forward(self, features: Sequence[Tensor], size: tuple[int, int]) -> HeadOutput:
        """Return the logits at ``size``, the coarsest map and all maps."""
        check_feature_maps("features", features, self.in_channels)
        check_size("size", size)
        logits = upsample(self.classifier(features[-1]), size)
        return HeadOutput(logits, features[-1], tuple(features))
