"""What should hold between features and those of a teacher: equal similarities among them, or closeness to them."""

from typing import Literal, get_args

import torch
from torch import Tensor

from correspondence_losses._checks import check_positive, check_same_device, check_shape, check_vectors
from correspondence_losses._precision import at_least_float32, matmul
from correspondence_losses._reduction import Reduction, check_choice, check_reduction, reduce
from correspondence_losses.functional.alignment import ELEMENT_REDUCTIONS, ElementReduction

__all__ = ["Distance", "feature_distance_loss", "gram_loss", "kernel_alignment_loss"]

Distance = Literal["euclidean", "cosine"]
"""How far a vector is from its target: by Euclidean distance, or by one minus the cosine of their angle."""
DISTANCES = get_args(Distance)


def gram_loss(
    features: Tensor,
    targets: Tensor,
    *,
    valid: Tensor | None = None,
    detach_target: bool = True,
    element_reduction: ElementReduction = "mean",
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Gram anchoring: the similarities among an image's features should be those among a teacher's.

    .. math:: \mathcal{L}_\text{Gram} = \| X X^\top - Y Y^\top \|_F^2

    with a row of unit length for each feature in X, and for its target in Y. Only the similarities are compared: the
    features may rotate, and may have another dimension than the teacher's.

    It costs O(k d min(k, d)), d the larger of the two dimensions: the similarities are computed where k < 3 d / 2.
    Where k is larger, with D = X - Y and S = X + Y (the narrower filled up with zeros), the loss is
    :math:`\frac{1}{2} \operatorname{tr}(D^\top D S^\top S + S^\top D S^\top D)`. That holds no k x k matrix, and does
    not cancel where the two are close.

    Args:
        features: Features of each image, (..., k, d), floating point.
        targets: The teacher's, of the same cells, (..., k, d'), floating point.
        valid: (..., k), bool: which count. All by default.
        detach_target: Whether ``targets`` is constant.
        element_reduction: ``"mean"`` over the pairs of an image, or their ``"sum"``, as the equation is printed.
        reduction: ``"none"`` returns one value for each image, (...), 0 without a valid feature; ``"mean"`` the mean
            over the others, ``"sum"`` their sum.

    Returns:
        The loss in float32, or float64 for float64 features.

    Raises:
        TypeError: If ``features`` or ``targets`` is not floating point, or ``valid`` not bool.
        ValueError: If shapes or devices do not fit, an input is empty, or a reduction is unknown.

    Source:
        Siméoni et al., "DINOv3", 2025, eq. 2.

    Example:
        >>> features = torch.eye(2)
        >>> targets = torch.tensor([[1.0, 0, 0], [1, 0, 0]])  # alike, where the features are not
        >>> gram_loss(features, targets, element_reduction="sum")
        tensor(2.)
    """
    check_choice("element_reduction", element_reduction, ELEMENT_REDUCTIONS)
    features, targets, valid = _prepared(features, targets, valid, detach_target, reduction)
    features, targets = _unit(features), _unit(targets)
    width = max(features.shape[-1], targets.shape[-1])
    if 2 * features.shape[-2] < 3 * width:
        distance = (matmul(features, features.mT) - matmul(targets, targets.mT)).square().sum((-2, -1))
    else:
        features, targets = (
            torch.nn.functional.pad(vectors, (0, width - vectors.shape[-1])) for vectors in (features, targets)
        )
        difference, total = features - targets, features + targets
        mixed = matmul(total.mT, difference)
        products = matmul(difference.mT, difference) * matmul(total.mT, total) + mixed * mixed.mT
        distance = products.sum((-2, -1)) / 2
    if element_reduction == "mean":
        distance = distance / valid.sum(-1).clamp(min=1).square()
    return reduce(distance, reduction, valid.any(-1))


def kernel_alignment_loss(
    features: Tensor,
    targets: Tensor,
    *,
    valid: Tensor | None = None,
    detach_target: bool = True,
    eps: float = 1e-6,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Patch kernel alignment: the similarities among an image's features should be proportional to a teacher's.

    .. math:: \mathcal{L} = 1 - \frac{\langle H X X^\top H, H Y Y^\top H \rangle_F}
        {\| H X X^\top H \|_F \, \| H Y Y^\top H \|_F}, \qquad H = I - \tfrac{1}{k} 1 1^\top

    with a feature in each row of X and its target in that of Y. This is one minus linear centred kernel alignment. It
    changes neither with a rotation, nor with a scale or a shift of either; the features may have another dimension
    than the teacher's.

    It costs O(k d min(k, d)): with centred X and Y, :math:`\langle X X^\top, Y Y^\top \rangle_F = \| X^\top Y \|_F^2`,
    which needs no k x k matrix.

    Args:
        features: Features of each image, (..., k, d), floating point.
        targets: The teacher's, of the same cells, (..., k, d'), floating point.
        valid: (..., k), bool: which count. All by default.
        detach_target: Whether ``targets`` is constant.
        eps: Norms below it count as it, which keeps the gradient of equal features finite; above 0.
        reduction: ``"none"`` returns one value for each image, (...), 0 with fewer than two valid features; ``"mean"``
            the mean over the others, ``"sum"`` their sum.

    Returns:
        The loss in float32, or float64 for float64 features.

    Raises:
        TypeError: If ``features`` or ``targets`` is not floating point, or ``valid`` not bool.
        ValueError: If shapes or devices do not fit, an input is empty, ``eps`` is not above 0, or the reduction is
            unknown.

    Source:
        Kornblith et al., "Similarity of Neural Network Representations Revisited", 2019; for patches, "Patch-Level
        Kernel Alignment for Dense Self-Supervised Learning", 2025.

    Example:
        >>> features = torch.randn(16, 4, dtype=torch.float64)
        >>> round(kernel_alignment_loss(features, 3 * features.flip(-1) + 1).abs().item(), 6)
        0.0
    """
    check_positive("eps", eps)
    features, targets, valid = _prepared(features, targets, valid, detach_target, reduction)
    features, targets = _centred(features, valid), _centred(targets, valid)
    across = _inner(features, targets)
    norms = [_inner(vectors, vectors).clamp(min=eps**2).sqrt() for vectors in (features, targets)]
    return reduce(1 - across / (norms[0] * norms[1]), reduction, valid.sum(-1) > 1)


def feature_distance_loss(
    features: Tensor,
    targets: Tensor,
    *,
    valid: Tensor | None = None,
    detach_target: bool = True,
    distance: Distance = "euclidean",
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Feature distance: features should stay near those of a frozen encoder.

    .. math:: \mathcal{L}_\text{FD} = \frac{1}{|V|} \sum_{i \in V} \| x_i - y_i \|_2

    over the valid features V, such as those of the objects alone. A feature at distance 0 has gradient 0.

    Args:
        features: (..., k, d), floating point.
        targets: The frozen encoder's, of the same cells, as ``features``.
        valid: (..., k), bool: which count. All by default.
        detach_target: Whether ``targets`` is constant.
        distance: ``"euclidean"``, or ``"cosine"`` for one minus the cosine similarity, for which a zero vector is at
            right angles to all others.
        reduction: ``"none"`` returns one value for each feature, (..., k), 0 where not valid; ``"mean"`` the mean over
            the valid ones, 0 without any; ``"sum"`` their sum.

    Returns:
        The loss in float32, or float64 for float64 features.

    Raises:
        TypeError: If ``features`` or ``targets`` is not floating point, or ``valid`` not bool.
        ValueError: If shapes or devices do not fit, an input is empty, or ``distance`` or the reduction is unknown.

    Source:
        Hoyer, Dai and Van Gool, "DAFormer", 2022, eq. 6 and 7.

    Example:
        >>> feature_distance_loss(torch.zeros(2, 2), torch.tensor([[3.0, 4], [0, 0]]), reduction="none")
        tensor([5., 0.])
    """
    check_choice("distance", distance, DISTANCES)
    features, targets, valid = _prepared(features, targets, valid, detach_target, reduction)
    check_shape("targets", targets, features.shape, "that of features")
    if distance == "cosine":
        return reduce(1 - (_unit(features) * _unit(targets)).sum(-1), reduction, valid)
    return reduce(_length(features - targets), reduction, valid)


def _prepared(
    features: Tensor, targets: Tensor, valid: Tensor | None, detach_target: bool, reduction: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Check the inputs; return both in float32 or better, 0 where not valid, and which are valid."""
    check_vectors("features", features, valid, "(..., k, d)")
    check_vectors("targets", targets, None, "(..., k, d)")
    check_shape("targets", targets, (*features.shape[:-1], targets.shape[-1]), "that of features, but for d")
    check_same_device("targets", targets, "features", features)
    check_reduction(reduction)
    if valid is None:
        valid = torch.ones(features.shape[:-1], dtype=torch.bool, device=features.device)
    dtype = torch.promote_types(features.dtype, targets.dtype)
    features, targets = (
        at_least_float32(vectors.to(dtype)).masked_fill(~valid.unsqueeze(-1), 0) for vectors in (features, targets)
    )
    return features, targets.detach() if detach_target else targets, valid


def _length(vectors: Tensor) -> Tensor:
    """Return the length of each vector, with gradient 0 at 0."""
    length: Tensor = torch.linalg.vector_norm(vectors, dim=-1)
    return length


def _unit(vectors: Tensor) -> Tensor:
    """Return the vectors at length 1; zero vectors stay and have no gradient."""
    length = _length(vectors).unsqueeze(-1)
    return vectors / length.masked_fill(length == 0, torch.inf)


def _centred(vectors: Tensor, valid: Tensor) -> Tensor:
    """Subtract the mean of the valid vectors from them; the others are 0 and stay so."""
    mean = vectors.sum(-2, keepdim=True) / valid.sum(-1).clamp(min=1)[..., None, None]
    return (vectors - mean).masked_fill(~valid.unsqueeze(-1), 0)


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner product of the kernels of two sets of vectors, by the smaller matrix."""
    k, width = a.shape[-2], max(a.shape[-1], b.shape[-1])
    if k < width:
        return (matmul(a, a.mT) * matmul(b, b.mT)).sum((-2, -1))
    return matmul(a.mT, b).square().sum((-2, -1))
