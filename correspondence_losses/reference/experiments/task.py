"""What a family brings to a run, besides its model."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset, default_collate

from correspondence_losses.reference.figures.plots import Panel

__all__ = ["Task"]


class Task(ABC):
    """What is trained on, and what of it is worth a picture.

    Attributes:
        stream: Endless training samples, each a function of the seed and its index alone.
        collate: From a list of samples to a batch.
        methods: Methods of the model, besides ``forward``, that are called; strategies that shard a model must know.
    """

    stream: Dataset[Any]
    collate: Callable[[list[Any]], Any] = staticmethod(default_collate)
    methods: Sequence[str] = ("predict",)

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """Return what the run's results should say of the data."""

    def panels(self, model: Any, images: Tensor) -> list[Panel]:  # noqa: ARG002
        """Return pictures of what the model makes of one image (1, 3, H, W), to stand beside its prediction."""
        return []

    def draw(self, model: Any, folder: Path, *, write: bool) -> None:  # noqa: B027
        """Draw the family's own figures into a folder.

        Every process calls this, as a model may be sharded over them; only the one with ``write`` may write.
        """
