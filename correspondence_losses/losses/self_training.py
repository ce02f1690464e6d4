"""Losses of unlabelled images as modules: consistency with a teacher, and low entropy."""

from torch import Tensor

from correspondence_losses._reduction import Reduction, check_reduction
from correspondence_losses._settings import ModuleWithSettings
from correspondence_losses.functional.self_training import check_threshold, entropy_loss, masked_consistency_loss

__all__ = ["EntropyLoss", "MaskedConsistencyLoss"]


class MaskedConsistencyLoss(ModuleWithSettings):
    """Holds the predictions of masked images to a teacher's predictions of the whole images.

    The function is :func:`~correspondence_losses.functional.masked_consistency_loss`, which says what it computes.

    Args:
        threshold: A pixel is sure above this probability; the share of sure pixels weighs the image.
        reduction: ``"none"`` (one value for each image), ``"mean"`` or ``"sum"`` over the images.

    Shape:
        logits and probabilities (b, c, H, W), floating point; mask (b, H, W), bool. Returns a scalar, or (b,) with
        ``reduction="none"``.

    Example:
        >>> import torch
        >>> from correspondence_losses import EMATeacher, mask_blocks
        >>> model = torch.nn.Conv2d(3, 5, 1)
        >>> teacher = EMATeacher(model)
        >>> images = torch.rand(2, 3, 64, 96)
        >>> masked = mask_blocks(images, block_size=16)
        >>> loss = MaskedConsistencyLoss()(model(masked.images), teacher(images).softmax(1), masked.hidden)
        >>> loss.shape
        torch.Size([])
    """

    def __init__(self, *, threshold: float = 0.968, reduction: Reduction = "mean") -> None:
        super().__init__()
        check_threshold(threshold)
        check_reduction(reduction)
        self.threshold = threshold
        self.reduction = reduction

    def forward(self, logits: Tensor, probabilities: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the loss."""
        return masked_consistency_loss(logits, probabilities, mask, **self.settings())


class EntropyLoss(ModuleWithSettings):
    """The entropy of predictions, which entropy minimisation makes small on unlabelled images.

    The function is :func:`~correspondence_losses.functional.entropy_loss`, which says what it computes.

    Args:
        reduction: ``"none"`` (one value for each position), ``"mean"`` or ``"sum"`` over the positions.

    Shape:
        logits (b, c, ...), floating point. Returns a scalar, or (b, ...) with ``reduction="none"``.

    Example:
        >>> import torch
        >>> EntropyLoss()(torch.zeros(2, 5, 8, 8))
        tensor(1.)
    """

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        check_reduction(reduction)
        self.reduction = reduction

    def forward(self, logits: Tensor) -> Tensor:
        """Return the loss."""
        return entropy_loss(logits, **self.settings())
