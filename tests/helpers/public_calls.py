"""One call that works of every public name of the core, and which functions and modules are pairs."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from correspondence_losses import blocks, correspond, functional, losses
from correspondence_losses.correspond import Matches, PosedFrames, ViewGrid

PACKAGES = (functional, correspond, losses, blocks)


def maps(*channels: int, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(2, c, 8 // 2**i, 8 // 2**i, generator=generator) for i, c in enumerate(channels)]
    return made[0] if len(made) == 1 else made


def labels() -> Tensor:
    return torch.arange(128).view(2, 8, 8) % 4


def grid() -> ViewGrid:
    points = torch.rand(2, 8, 8, 2, generator=torch.Generator().manual_seed(0)) * 8
    return ViewGrid.from_points(points, torch.ones(2, 8, 8, dtype=torch.bool))


def matches() -> Matches:
    return correspond.feature_matches(maps(6), maps(6, seed=1), 5)


def frames() -> PosedFrames:
    return PosedFrames(
        labels=torch.ones(2, 8, 8, dtype=torch.int64),
        object_ids=torch.tensor([[1, 2], [2, 1]]),
        poses=torch.eye(3, 4).expand(2, 2, -1, -1).clone(),
        intrinsics=torch.eye(3).expand(2, -1, -1).clone(),
        depth=torch.ones(2, 8, 8),
        object_coordinates=torch.ones(2, 8, 8, 3),
    )


def views() -> dict[str, Any]:
    return {
        "embeddings": [torch.randn(2, 5) for _ in range(3)],
        "features": [maps(6, seed=i) for i in range(3)],
        "grids": [grid() for _ in range(3)],
    }


def vectors(seed: int = 0) -> Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(seed))


def mask(*shape: int) -> Tensor:
    return torch.ones(shape, dtype=torch.bool)


def statistics() -> Any:
    return functional.segment_statistics(maps(3), labels(), 4)


def matched() -> dict[str, Any]:
    return {"features_a": maps(6), "features_b": maps(6, seed=1), "matches": matches()}


def taught() -> dict[str, Any]:
    return {"features": vectors().view(2, 3, 4), "targets": vectors(1).view(2, 3, 4), "valid": mask(2, 3)}


def directions() -> Tensor:
    return torch.eye(4)[:, :3]


def probabilities() -> Tensor:
    return maps(3).softmax(1)


def mixed() -> dict[str, Any]:
    unlabelled = {"unlabelled_images": maps(3, seed=1), "pseudo_labels": labels().flip(-1)}
    return {"images": maps(3), "labels": labels(), **unlabelled}


def vector_sets() -> dict[str, Any]:
    return {"source": vectors(), "target": vectors(1)}


def student_and_teacher() -> dict[str, Any]:
    return {"logits": maps(3, seed=1), "probabilities": probabilities(), "mask": labels() > 1}


def contrasted() -> dict[str, Any]:
    return {"features_a": maps(6), "segments_a": labels(), "features_b": maps(6, seed=1), "segments_b": labels()}


def bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """With a bound on the labels, which on an accelerator keeps it from reading them."""
    return lambda **arguments: function(**arguments, num_segments=4)


class Built:
    """A call of something that is made first, such as a module with parameters."""

    def __init__(self, build: Callable[[], Callable[..., Any]]) -> None:
        self.build = build

    def __call__(self, **arguments: Any) -> Any:
        return self.build()(**arguments)


def called(module: Any, *constructor: Any, **settings: Any) -> Built:
    return Built(lambda: module(*constructor, **settings))


def normalised() -> Built:
    """A model that is adapted to batches, and its output of them."""

    def run(model: nn.Module, batches: list[Tensor]) -> list[Tensor]:
        blocks.adapt_batch_norm(model, batches)
        return [model.eval()(batch) for batch in batches]

    return Built(lambda: partial(run, nn.BatchNorm2d(6)))


def played(game: Callable[..., Any]) -> Built:
    return Built(lambda: partial(game, blocks.FeatureDiscriminator(6, channels=32)))


def both_domains() -> dict[str, Any]:
    return {"source": maps(6), "target": maps(6, seed=1)}


GOOD: dict[str, tuple[Callable[..., Any], Callable[[], dict[str, Any]]]] = {
    # functional
    "variance_loss": (functional.variance_loss, lambda: {"z": vectors(), "valid": mask(6)}),
    "covariance_loss": (functional.covariance_loss, lambda: {"z": vectors(), "valid": mask(6)}),
    "collapse_diagnostics": (functional.collapse_diagnostics, lambda: {"z": vectors()}),
    "invariance_loss": (functional.invariance_loss, lambda: {"z1": vectors(), "z2": vectors(1), "valid": mask(6)}),
    "vicreg_loss": (functional.vicreg_loss, lambda: {"z1": vectors(), "z2": vectors(1)}),
    "vicreg_terms": (functional.vicreg_terms, lambda: {"z1": vectors(), "z2": vectors(1), "valid": mask(6)}),
    "segment_statistics": (
        lambda features, segments: functional.segment_statistics(features, segments, 4),
        lambda: {"features": maps(3), "segments": labels()},
    ),
    "segment_invariance_loss": (functional.segment_invariance_loss, lambda: {"statistics": statistics()}),
    "segment_separation_loss": (functional.segment_separation_loss, lambda: {"statistics": statistics()}),
    "segment_regularization_loss": (
        bounded(functional.segment_regularization_loss),
        lambda: {"features": maps(3), "segments": labels()},
    ),
    "masked_l2_loss": (
        functional.masked_l2_loss,
        lambda: {"features_a": maps(3, 4), "features_b": maps(3, 4, seed=1), "segments": labels()},
    ),
    "lsgan_discriminator_loss": (
        functional.lsgan_discriminator_loss,
        lambda: {"real_scores": vectors(), "fake_scores": vectors(1)},
    ),
    "lsgan_generator_loss": (functional.lsgan_generator_loss, lambda: {"fake_scores": vectors()}),
    "minimax_discriminator_loss": (
        functional.minimax_discriminator_loss,
        lambda: {"real_logits": vectors(), "fake_logits": vectors(1)},
    ),
    "minimax_generator_loss": (functional.minimax_generator_loss, lambda: {"fake_logits": vectors()}),
    "info_nce_loss": (
        functional.info_nce_loss,
        lambda: {"queries": vectors(), "keys": vectors(1), "valid": mask(6), "key_cells": torch.arange(6)},
    ),
    "detcon_loss": (
        functional.detcon_loss,
        lambda: {
            "means_a": vectors()[None],
            "means_b": vectors(1)[None],
            "present_a": mask(1, 6),
            "present_b": mask(1, 6),
        },
    ),
    "gram_loss": (functional.gram_loss, taught),
    "kernel_alignment_loss": (functional.kernel_alignment_loss, taught),
    "feature_distance_loss": (functional.feature_distance_loss, taught),
    "sigreg_loss": (functional.sigreg_loss, lambda: {"z": vectors(), "valid": mask(6), "directions": directions()}),
    "lejepa_loss": (
        functional.lejepa_loss,
        lambda: {"z1": vectors(), "z2": vectors(1), "valid": mask(6), "directions": directions()},
    ),
    "segment_contrastive_loss": (bounded(functional.segment_contrastive_loss), contrasted),
    "segment_vote": (
        lambda probabilities, segments: functional.segment_vote(probabilities, segments, 4),
        lambda: {"probabilities": probabilities(), "segments": labels()},
    ),
    "class_mix": (lambda **both: functional.class_mix(**both, num_classes=4), mixed),
    "mask_blocks": (lambda images: functional.mask_blocks(images, 2), lambda: {"images": maps(3)}),
    "masked_consistency_loss": (functional.masked_consistency_loss, student_and_teacher),
    "entropy_loss": (functional.entropy_loss, lambda: {"logits": maps(3)}),
    "class_prototypes": (
        lambda features, segments: functional.class_prototypes(features, segments, 4),
        lambda: {"features": maps(3), "segments": labels()},
    ),
    "prototype_alignment_loss": (bounded(functional.prototype_alignment_loss), contrasted),
    "coral_loss": (functional.coral_loss, vector_sets),
    "mmd_loss": (functional.mmd_loss, vector_sets),
    "paint_masks": (functional.paint_masks, lambda: {"masks": torch.arange(4)[:, None, None] == labels()[0]}),
    "segments_to_masks": (bounded(functional.segments_to_masks), lambda: {"segments": labels()}),
    # correspond
    "ViewGrid": (ViewGrid.from_points, lambda: {"points": torch.rand(2, 3, 3, 2), "valid": mask(2, 3, 3)}),
    "location_matches": (
        lambda **grids: correspond.location_matches(**grids, num_matches=3),
        lambda: {"grid_a": grid(), "grid_b": grid()},
    ),
    "feature_matches": (
        lambda **both: correspond.feature_matches(**both, num_matches=3),
        lambda: {"features_a": maps(6), "features_b": maps(6, seed=1)},
    ),
    "segment_matches": (
        lambda **both: correspond.segment_matches(**both, num_matches=3),
        lambda: {"segments_a": labels(), "segments_b": labels()},
    ),
    "gather_matches": (correspond.gather_matches, matched),
    "mutual_matches": (correspond.mutual_matches, lambda: {"matches": matches(), "reverse": matches()}),
    "close_matches": (lambda matches: correspond.close_matches(matches, 2.0), lambda: {"matches": matches()}),
    "same_label_matches": (
        correspond.same_label_matches,
        lambda: {"matches": matches(), "segments_a": labels(), "segments_b": labels()},
    ),
    "union_matches": (lambda matches: correspond.union_matches(*matches), lambda: {"matches": [matches(), matches()]}),
    "pose_grid": (correspond.pose_grid, lambda: {"grid": grid(), "frames": frames(), "seed_frames": frames()}),
    "pose_matches": (
        lambda **both: correspond.pose_matches(**both, num_matches=3),
        lambda: {"grid_a": grid(), "frames_a": frames(), "grid_b": grid(), "frames_b": frames()},
    ),
    # losses
    "VICRegLoss": (called(losses.VICRegLoss), lambda: {"z1": vectors(), "z2": vectors(1)}),
    "VICRegLLoss": (called(losses.VICRegLLoss, num_matches=(4, 2)), views),
    "vicregl_loss": (lambda **views: losses.vicregl_loss(**views, num_matches=(4, 2)), views),
    "MatchedVICRegLoss": (called(losses.MatchedVICRegLoss), matched),
    "matched_vicreg_loss": (losses.matched_vicreg_loss, matched),
    "SegmentRegularizationLoss": (
        called(losses.SegmentRegularizationLoss),
        lambda: {"features": maps(3), "segments": labels()},
    ),
    "MaskedL2Loss": (
        called(losses.MaskedL2Loss),
        lambda: {"features_a": maps(3, 4), "features_b": maps(3, 4, seed=1), "segments": labels()},
    ),
    "LSGANDiscriminatorLoss": (
        called(losses.LSGANDiscriminatorLoss),
        lambda: {"real_scores": vectors(), "fake_scores": vectors(1)},
    ),
    "LSGANGeneratorLoss": (called(losses.LSGANGeneratorLoss), lambda: {"fake_scores": vectors()}),
    "MinimaxDiscriminatorLoss": (
        called(losses.MinimaxDiscriminatorLoss),
        lambda: {"real_logits": vectors(), "fake_logits": vectors(1)},
    ),
    "MinimaxGeneratorLoss": (called(losses.MinimaxGeneratorLoss), lambda: {"fake_logits": vectors()}),
    "LSGANLoss": (played(losses.LSGANLoss()), both_domains),
    "MinimaxLoss": (played(losses.MinimaxLoss()), both_domains),
    "lsgan_loss": (played(losses.lsgan_loss), both_domains),
    "minimax_loss": (played(losses.minimax_loss), both_domains),
    "InfoNCELoss": (
        called(losses.InfoNCELoss),
        lambda: {"queries": vectors(), "keys": vectors(1), "valid": mask(6), "key_cells": torch.arange(6)},
    ),
    "DetConLoss": (
        called(losses.DetConLoss),
        lambda: {
            "means_a": vectors()[None],
            "means_b": vectors(1)[None],
            "present_a": mask(1, 6),
            "present_b": mask(1, 6),
        },
    ),
    "PatchNCELoss": (called(losses.PatchNCELoss), matched),
    "patch_nce_loss": (losses.patch_nce_loss, matched),
    "SegmentContrastiveLoss": (called(losses.SegmentContrastiveLoss), contrasted),
    "GramLoss": (called(losses.GramLoss), taught),
    "KernelAlignmentLoss": (called(losses.KernelAlignmentLoss), taught),
    "FeatureDistanceLoss": (called(losses.FeatureDistanceLoss), taught),
    "SIGRegLoss": (
        called(losses.SIGRegLoss),
        lambda: {"z": vectors(), "valid": mask(6), "directions": directions()},
    ),
    "LeJEPALoss": (
        called(losses.LeJEPALoss),
        lambda: {"z1": vectors(), "z2": vectors(1), "valid": mask(6), "directions": directions()},
    ),
    "on_matches": (partial(losses.on_matches, losses.GramLoss()), matched),
    "on_segments": (bounded(partial(losses.on_segments, losses.GramLoss())), contrasted),
    "MaskedConsistencyLoss": (called(losses.MaskedConsistencyLoss), student_and_teacher),
    "EntropyLoss": (called(losses.EntropyLoss), lambda: {"logits": maps(3)}),
    "PrototypeAlignmentLoss": (called(losses.PrototypeAlignmentLoss), contrasted),
    "CORALLoss": (called(losses.CORALLoss), vector_sets),
    "MMDLoss": (called(losses.MMDLoss), vector_sets),
    # blocks
    "EMATeacher": (
        Built(lambda: blocks.EMATeacher(blocks.LocalProjector(6, (4,), 3))),
        lambda: {"features": maps(6)},
    ),
    "adapt_batch_norm": (normalised(), lambda: {"batches": [maps(6), maps(6, seed=1)]}),
    "LocalProjector": (called(blocks.LocalProjector, 6, (4,), 3), lambda: {"features": maps(6)}),
    "GlobalExpander": (called(blocks.GlobalExpander, 4, (4,), 3), lambda: {"features": vectors()}),
    "LinearHead": (called(blocks.LinearHead, (6, 4), 3), lambda: {"features": maps(6, 4), "size": (9, 9)}),
    "FeatureDiscriminator": (called(blocks.FeatureDiscriminator, 6, channels=32), lambda: {"features": maps(6)}),
    "MultiLevelDiscriminator": (
        called(blocks.MultiLevelDiscriminator, (6, 4), num_downsamples=(2, 1), channels=32),
        lambda: {"features": maps(6, 4)},
    ),
    "RefineNet": (called(blocks.RefineNet, (6, 4), 3, channels=4), lambda: {"features": maps(6, 4), "size": (9, 9)}),
    "FPNFusionHead": (
        called(blocks.FPNFusionHead, (6, 4), 3, fpn_channels=4),
        lambda: {"features": maps(6, 4), "size": (9, 9)},
    ),
    "SimpleFeaturePyramid": (called(blocks.SimpleFeaturePyramid, 6, 3), lambda: {"features": maps(6)}),
    "SAMPoolingBlock": (called(blocks.SAMPoolingBlock, 6), lambda: {"features": maps(6), "segments": labels()}),
}

# What has parameters, which the call makes where torch.device says.
WITH_PARAMETERS = {name for name in GOOD if hasattr(blocks, name)} | {
    "LSGANLoss",
    "MinimaxLoss",
    "lsgan_loss",
    "minimax_loss",
}
# What draws random numbers.
RANDOM = {"segment_matches", "class_mix", "mask_blocks"}
# What otherwise reads the number of segments off the labels.
BOUNDED: dict[str, Callable[..., Any]] = {
    "SegmentRegularizationLoss": called(losses.SegmentRegularizationLoss, num_segments=4),
    "SegmentContrastiveLoss": called(losses.SegmentContrastiveLoss, num_segments=4),
    "PrototypeAlignmentLoss": called(losses.PrototypeAlignmentLoss, num_segments=4),
    "SAMPoolingBlock": called(blocks.SAMPoolingBlock, 6, num_segments=4),
}
CALLS = {name: (BOUNDED.get(name, function), make) for name, (function, make) in GOOD.items()}

PUBLIC = {name: getattr(package, name) for package in PACKAGES for name in package.__all__}

# Terms of a loss, for sets of vectors or statistics: the module of the loss returns them by name from `terms`.
TERMS = {
    "variance_loss": "VICRegLoss",
    "covariance_loss": "VICRegLoss",
    "invariance_loss": "VICRegLoss",
    "segment_invariance_loss": "SegmentRegularizationLoss",
    "segment_separation_loss": "SegmentRegularizationLoss",
}
MODULES = {name: thing for name, thing in vars(losses).items() if name.endswith("Loss") and name in losses.__all__}
FUNCTIONS = {name: thing for name, thing in PUBLIC.items() if name.endswith("_loss") and name not in TERMS}


def function_of(module: str) -> str:
    """VICRegLLoss -> vicregl_loss: the name that a module's function has."""
    matching = [name for name in FUNCTIONS if name.replace("_", "") == module.lower()]
    assert len(matching) == 1, f"{module} has {matching}"
    return matching[0]


PAIRS = sorted((function_of(module), module) for module in MODULES)


def tensors_in(value: Any, path: tuple[str | int, ...]) -> list[tuple[tuple[str | int, ...], Tensor]]:
    if isinstance(value, Tensor):
        return [(path, value)]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        steps: list[tuple[str | int, Any]] = list(zip(value._fields, value, strict=True))
    elif isinstance(value, list | tuple):
        steps = list(enumerate(value))
    else:
        return []
    return [found for step, part in steps for found in tensors_in(part, (*path, step))]


def moved(value: Any, device: str) -> Any:
    if isinstance(value, Tensor):
        value = value.detach().to(device)
        return value.requires_grad_() if value.is_floating_point() else value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(moved(part, device) for part in value))
    if isinstance(value, list | tuple):
        return [moved(part, device) for part in value]
    return value
