"""The optimizer: which parameters learn how fast, and which decay."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

__all__ = ["Rate", "create_optimizer", "parameter_rates", "set_learning_rate"]

_TYPES: dict[str, type[torch.optim.Adam]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class Rate(NamedTuple):
    """How a parameter learns: its learning rate as a part of the optimizer's, and whether it decays."""

    lr_scale: float
    decays: bool


def parameter_rates(
    model: nn.Module,
    stages: Iterable[Iterable[nn.Parameter]] = (),
    *,
    backbone_lr_scale: float = 1.0,
    layer_decay: float = 1.0,
) -> dict[str, Rate]:
    """Return how each trainable parameter of a model learns, by its name.

    Biases and the scales and shifts of normalisation do not decay. The backbone's last stage learns at
    ``backbone_lr_scale`` times the learning rate, and each stage at ``layer_decay`` times the rate of the one after it.

    Args:
        model: Before it is set up for several devices: a parameter that is sharded has another shape.
        stages: The parameters of the backbone's stages, first to last; none for one rate.
        backbone_lr_scale: See above.
        layer_decay: See above.

    Source:
        Rates by layer: Clark et al. 2020, "ELECTRA"; Bao et al. 2022, "BEiT".
    """
    scales: dict[int, float] = {}
    for above, stage in enumerate(reversed([list(stage) for stage in stages])):
        scales |= {id(parameter): backbone_lr_scale * layer_decay**above for parameter in stage}
    return {
        name: Rate(scales.get(id(parameter), 1.0), parameter.ndim > 1)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def create_optimizer(
    model: nn.Module,
    kind: Literal["adam", "adamw"],
    rates: Mapping[str, Rate],
    *,
    learning_rate: float,
    weight_decay: float,
    fused: bool = True,
) -> torch.optim.Optimizer:
    """Create the optimizer of a model's trainable parameters, a group for each rate.

    Args:
        model: Whose parameters, set up for all devices.
        kind: ``"adam"`` or ``"adamw"``.
        rates: How each of them learns (:func:`parameter_rates`).
        learning_rate: Of parameters with a scale of 1.
        weight_decay: Of those that decay.
        fused: Update all parameters in one call where PyTorch has one. Gradients that are scaled for float16 cannot be
            clipped with it.
    """
    groups: defaultdict[Rate, list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[rates[name.replace("_fsdp_wrapped_module.", "")]].append(parameter)
    described: list[dict[str, Any]] = [
        {"params": parameters, "lr_scale": rate.lr_scale, "weight_decay": weight_decay if rate.decays else 0.0}
        for rate, parameters in groups.items()
    ]
    # By default PyTorch goes through the parameters in Python on a CPU, and in several passes over them on a GPU.
    devices = {parameter.device.type for parameters in groups.values() for parameter in parameters}
    optimizer = _TYPES[kind](described, lr=learning_rate, fused=(fused and devices <= {"cpu", "cuda"}) or None)
    set_learning_rate(optimizer, learning_rate)
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of each group, by the group's own scale where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("lr_scale", 1.0)
