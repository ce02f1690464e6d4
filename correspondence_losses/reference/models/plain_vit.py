"""Plain vision transformers of timm, whose blocks all have one stride: DeiT, DINOv2, DINOv3 and their like."""

import inspect
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PlainViT", "is_plain_vit"]


def is_plain_vit(name: str) -> bool:
    """Return whether a model of timm is a transformer of patches, all of whose blocks have one stride."""
    model = _without_weights(name)
    if not all(hasattr(model, part) for part in ("patch_embed", "blocks", "forward_intermediates", "feature_info")):
        return False
    return len({info["reduction"] for info in model.feature_info}) == 1


# PyTorch 2.6 does not tell exporting from compiling; there, compiled images of fitting sizes are resized to their own.
_is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


class PlainViT(nn.Module):
    """A plain ViT that takes images of any size and returns the map of its last block, normalised as its tokens are.

    Class and register tokens take part in attention and are left out of the map. Position embeddings are interpolated
    to the image. An image whose sides are no multiples of the patch is resized to the next ones, so that the map
    covers the whole image, and nothing else.

    Args:
        name: A model of timm, such as ``"vit_small_patch16_dinov3"`` or ``"vit_small_patch14_reg4_dinov2"``.
        options: For ``timm.create_model``.

    Attributes:
        channels: Channels of the map.
        stride: Of the map.
        pretrained_cfg: timm's, with the normalisation of images.
    """

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__()
        if "dynamic_img_size" in inspect.signature(type(_without_weights(name))).parameters:
            options["dynamic_img_size"] = True
        self.model = _create(name, **options)
        self.model.prune_intermediate_layers(1, prune_norm=False)  # what pools the tokens gets no gradient
        info = self.model.feature_info[-1]
        self.channels: int = info.get("num_chs_norm", info["num_chs"])
        self.stride: int = info["reduction"]
        self.pretrained_cfg: dict[str, Any] = self.model.pretrained_cfg

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the map (b, channels, ⌈H / stride⌉, ⌈W / stride⌉) of images (b, 3, H, W), as a list of one."""
        # Rounded up without a division of negative numbers, which ONNX rounds to 0.
        size = [(extent + self.stride - 1) // self.stride * self.stride for extent in images.shape[-2:]]
        if _is_exporting() or size != list(images.shape[-2:]):  # one program for all sizes
            images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        maps: list[Tensor] = self.model.forward_intermediates(images, indices=1, norm=True, intermediates_only=True)
        return maps

    def set_grad_checkpointing(self, enable: bool) -> None:
        """Compute activations again in the backward pass instead of keeping them, or not."""
        self.model.set_grad_checkpointing(enable)

    def stages(self) -> list[list[nn.Parameter]]:
        """Return the parameters of what embeds the patches, and then those of each block; the norm is the last's."""
        stages: list[list[nn.Parameter]] = [[] for _ in range(1 + len(self.model.blocks))]
        stage = 0
        for name, parameter in self.model.named_parameters():
            if name.startswith("blocks."):
                stage = 1 + int(name.split(".")[1])
            stages[stage].append(parameter)
        return stages


def _without_weights(name: str) -> Any:
    with torch.device("meta"):
        return _create(name)


def _create(name: str, **options: Any) -> Any:
    return timm.create_model(name, num_classes=0, **options)
