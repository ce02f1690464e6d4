"""A network that finds where one thing ends and another begins, whatever they are."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from correspondence_losses.blocks import FPNFusionHead, HeadOutput
from correspondence_losses.reference.models.backbone import Backbone
from correspondence_losses.reference.models.heads import PyramidHead

__all__ = ["BoundaryModel"]

_POSITIVE_WEIGHT = 3.0  # boundaries are few, and a gap in one joins two segments


class BoundaryModel(nn.Module):
    r"""A backbone and a head that predict whether a pixel lies on a boundary, with their training loss.

    With logits z, probabilities :math:`p = \sigma(z)` and targets :math:`y \in \{0, 1\}` it is

    .. math::

        \mathcal{L} = - \frac{1}{n} \sum_i \left( 3 y_i \log p_i + (1 - y_i) \log(1 - p_i) \right)
        + 1 - \frac{2 \sum_i p_i y_i + 1}{\sum_i p_i^2 + \sum_i y_i + 1}

    over the pixels of each image, and the mean over images: cross-entropy, and the Dice loss, which makes boundaries
    crisp.

    Args:
        backbone: Returns the feature maps.
        head: Makes one logit of them.
        head_stride: Logits are computed at this part of the image's height and width, and upsampled.

    Source:
        Deng et al. 2018, "Learning to Predict Crisp Boundaries", for both terms together; the Dice coefficient with
        squares is that of Milletari et al. 2016, "V-Net", with 1 added above and below.
    """

    def __init__(self, backbone: Backbone, head: FPNFusionHead | PyramidHead, *, head_stride: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.head_stride = head_stride

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss terms of a batch by name; ``"loss"`` is to be minimised."""
        target = batch["boundary"].float()
        logits = self.predict(batch["image"])[:, 0].float()
        weight = logits.new_tensor(_POSITIVE_WEIGHT)
        cross_entropy = F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight)
        found = logits.sigmoid()
        overlap, total = (found * target).sum((1, 2)), (found.square() + target).sum((1, 2))
        dice = (1 - (2 * overlap + 1) / (total + 1)).mean()
        return {"loss": cross_entropy + dice, "cross_entropy": cross_entropy, "dice": dice}

    def predict(self, images: Tensor) -> Tensor:
        """Return the logits (b, 1, H, W) of images (b, 3, H, W)."""
        height, width = images.shape[-2:]
        maps: list[Tensor] = self.backbone(images)
        output: HeadOutput = self.head(maps, (height // self.head_stride, width // self.head_stride))
        return F.interpolate(output.logits, size=(height, width), mode="bilinear", align_corners=False)

    @torch.no_grad()
    def boundaries(self, images: Tensor) -> Tensor:
        """Return the probability of a boundary (b, H, W) at each pixel of images (b, 3, H, W)."""
        return self.predict(images)[:, 0].float().sigmoid()
