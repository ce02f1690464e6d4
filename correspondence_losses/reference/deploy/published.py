"""A run's model as a repository of Hugging Face's hub, which loads without the run's folder."""

from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import ModelCard, PyTorchModelHubMixin
from numpy.typing import NDArray
from torch import Tensor, nn

from correspondence_losses.reference.experiments import family_name
from correspondence_losses.reference.experiments.record import plain
from correspondence_losses.reference.files import read_json, reading
from correspondence_losses.reference.runs.command_line import settings_of
from correspondence_losses.reference.runs.trained import TrainedModel, blank_model, image_classes

__all__ = ["PublishedModel"]

_OF_THE_DATA = ("scenes", "segmenter")
_RESULTS = ("mean_iou", "mean_iou_objects", "mean_iou_union")


class PublishedModel(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="correspondence-losses",
    pipeline_tag="image-segmentation",
    tags=["semantic-segmentation", "domain-adaptation"],
    docs_url="https://correspondence-losses.readthedocs.io",
):
    """The model of a run, to be pushed to Hugging Face's hub and loaded from there.

    .. code-block:: python

        PublishedModel.from_run(Path("runs/ycb_fpn_sam")).push_to_hub("me/bin-picking")
        classes = PublishedModel.from_pretrained("me/bin-picking").classes(image)

    The repository holds the weights as safetensors, this class's arguments as ``config.json``, and a card made of the
    run's results. Paths of the run are left out of it.

    Args:
        settings: Of the run, as its ``settings.json`` has them.
        class_names: Names of the classes, the background first.
        results: What the card says of the run: parts of its ``results.json``.
    """

    def __init__(
        self, *, settings: dict[str, Any], class_names: list[str], results: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.settings = settings_of(settings, "settings")
        self.class_names = class_names
        self.results = results or {}
        self.model: Any = blank_model(self.settings, len(class_names))

    @classmethod
    def from_run(cls, run: Path) -> "PublishedModel":
        """Return the model of a run's folder, finished or not.

        Raises:
            CheckpointError: The folder holds no run or a damaged one, or its model predicts no classes.
        """
        trained = TrainedModel(run, accelerator="cpu")
        results: dict[str, Any] = {"step": trained.step}
        if (run / "results.json").exists():
            results |= _results(run / "results.json")
        settings = {
            name: value
            for name, value in plain(trained.settings).items()
            if name not in _OF_THE_DATA and not isinstance(getattr(trained.settings, name), Path)
        }
        family = {"family": family_name(trained.settings), **settings}
        published = cls(settings=family, class_names=list(trained.class_names), results=results)
        published.model.load_state_dict(trained.module.state_dict())
        return published.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (b, classes, H, W) of images (b, 3, H, W) with values from 0 to 1."""
        logits: Tensor = self.model.predict(images)
        return logits

    def classes(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the class (H, W) of each pixel of an (H, W, 3) RGB image, of any size."""
        return image_classes(self.model, image, self.settings.predicted_at)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:  # noqa: ARG002
        """Return a card that says what the model is, what came out of its run, and how to use it."""
        settings, results = self.settings, self.results
        size = " x ".join(map(str, settings.predicted_at))
        source = results.get("backbone_weights", {})
        lines = [
            "---",
            str(self._hub_mixin_info.model_card_data),
            "---",
            "",
            "# Semantic segmentation by correspondence-losses",
            "",
            f"A `{settings.backbone}` backbone with a head for {len(self.class_names)} classes, trained for "
            f"{results.get('step', 'an unknown number of')} steps of {settings.batch_size} images. Images are "
            f"predicted at {size}; their normalisation is in the model.",
            "",
            "```python",
            "from correspondence_losses.reference.deploy.published import PublishedModel",
            "",
            'model = PublishedModel.from_pretrained("OWNER/NAME")  # this repository',
            "classes = model.classes(image)  # (H, W, 3) RGB of 8 bit -> (H, W), indices of model.class_names",
            "```",
            "",
            "## Results",
            "",
            *self._score_lines(),
            "",
            "## Classes",
            "",
            ", ".join(f"{index} {name}" for index, name in enumerate(self.class_names)),
            "",
            "## How it was made",
            "",
            f"- Backbone's weights: {', '.join(f'{key} {value}' for key, value in source.items()) or 'random'}",
            f"- Labels trained on: {settings.labelled}; images without labels: {settings.unlabelled}",
            *(f"- {name} {version}" for name, version in results.get("versions", {}).items()),
            "",
        ]
        return ModelCard("\n".join(lines))

    def _score_lines(self) -> list[str]:
        results = self.results
        if "mean_iou" not in results:
            return ["This run was not scored."]
        names = ("mean IoU, classes present", "without the background", "classes present or found")
        lines = [f"On {results['evaluated_frames']} frames of the split `{self.settings.evaluation}`:", ""]
        lines += ["| score | % |", "| --- | --- |"]
        lines += [f"| {name} | {100 * results[key]:.2f} |" for name, key in zip(names, _RESULTS, strict=True)]
        lines += [f"| IoU of {name} | {100 * iou:.2f} |" for name, iou in results.get("classes", {}).items()]
        return lines


def _results(path: Path) -> dict[str, Any]:
    """Return what the card says of a finished run."""
    with reading(path, "a run's results"):
        found = read_json(path)
        return {
            **({name: float(found[name]) for name in _RESULTS} if "mean_iou" in found else {}),
            "backbone_weights": dict(found.get("backbone_weights") or {}),
            "versions": dict(found.get("versions") or {}),
            "evaluated_frames": found["data"]["evaluated_frames"],
            "classes": {
                name.removeprefix("iou/"): float(value)
                for name, value in found.get("final", {}).items()
                if name.startswith("iou/")
            },
        }
