"""Mean IoU as YCB-Video's users compute it: one confusion matrix over all frames, then the classes' mean."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.classification import MulticlassConfusionMatrix

__all__ = ["MEANS", "SegmentationScores", "predict_classes", "score_ways"]

MEANS = ("mean_iou", "mean_iou_objects", "mean_iou_union")
"""The means over classes of :meth:`SegmentationScores.metrics`: present, without the background, present or found."""


@dataclass(frozen=True)
class SegmentationScores:
    """Scores of a confusion matrix (num_classes, num_classes), rows truth and columns prediction.

    Args:
        confusion: Pixel counts.
        class_names: Names of the classes; the first is the background.
    """

    confusion: Tensor
    class_names: Sequence[str]

    @property
    def iou(self) -> Tensor:
        """(num_classes,) intersection over union; NaN for a class that is neither in the truth nor predicted."""
        confusion = self.confusion.double()
        intersection = confusion.diagonal()
        return intersection / (confusion.sum(0) + confusion.sum(1) - intersection)

    @property
    def present(self) -> Tensor:
        """(num_classes,) bool: whether the truth has pixels of the class."""
        return self.confusion.sum(1) > 0

    def metrics(self) -> dict[str, float]:
        """The scores that a run logs.

        ``mean_iou`` is over the classes present in the truth, background included; ``mean_iou_objects`` leaves out
        the background (class 0); ``mean_iou_union`` is over the classes in the truth or the prediction, as PoseCNN's
        evaluation takes it. ``iou/NAME`` is the score of each class present.
        """
        iou, present = self.iou, self.present
        objects = present.clone()
        objects[0] = False
        return {
            "mean_iou": iou[present].mean().item(),
            "mean_iou_objects": iou[objects].mean().item(),
            "mean_iou_union": iou.nanmean().item(),
            "pixel_accuracy": (self.confusion.diagonal().sum() / self.confusion.sum()).item(),
            **{f"iou/{self.class_names[i]}": iou[i].item() for i in present.nonzero().flatten().tolist()},
        }

    def record(self) -> dict[str, Any]:
        """The means of :meth:`metrics`, and for each class its score, its pixels and those predicted to be of it.

        The score is ``None`` for a class that is neither in the truth nor predicted.
        """
        truth, predicted = self.confusion.sum(1).tolist(), self.confusion.sum(0).tolist()
        classes = {
            name: {"iou": None if math.isnan(iou) else iou, "pixels": truth[i], "predicted_pixels": predicted[i]}
            for i, (name, iou) in enumerate(zip(self.class_names, self.iou.tolist(), strict=True))
        }
        means = {name: value for name, value in self.metrics().items() if not name.startswith("iou/")}
        return {**means, "classes": classes}


@torch.no_grad()
def predict_classes(model: Any, images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the classes (*size) that a model predicts for one image (1, 3, H, W), which may be of another size."""
    logits = model.predict(images)
    return F.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)[0].argmax(0)


@torch.no_grad()
def score_ways(
    fabric: Fabric,
    ways: Sequence[str],
    predict: Callable[[str], Mapping[str, Tensor]],
    truth: Callable[[str], Tensor],
    frames: Sequence[str],
    class_names: Sequence[str],
    progress: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> dict[str, SegmentationScores]:
    """Score ways to predict against truth, over frames that the processes share out among them.

    Args:
        fabric: Launched.
        ways: Their names.
        predict: From a frame to its (H, W) class map by each way.
        truth: From a frame to its true (H, W) class map.
        frames: Names of the frames.
        class_names: Names of the classes, the background first.
        progress: Wraps the frames, to show progress.
    """
    confusions = {way: MulticlassConfusionMatrix(len(class_names)).to(fabric.device) for way in ways}
    for frame in progress(frames[fabric.global_rank :: fabric.world_size]):
        label = truth(frame).to(fabric.device)
        predicted = predict(frame)
        for way, confusion in confusions.items():
            confusion.update(predicted[way].to(fabric.device), label)
    # Summed over the processes.
    return {way: SegmentationScores(found.compute().cpu(), class_names) for way, found in confusions.items()}
