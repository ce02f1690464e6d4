"""``predict``: label a folder of images with a run's model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from correspondence_losses.reference.commands import call
from correspondence_losses.reference.data import CLASS_NAMES, ImageFolder
from correspondence_losses.reference.figures.colors import PALETTE, colorize
from correspondence_losses.reference.figures.plots import plot_legend
from correspondence_losses.reference.files import atomic_path
from correspondence_losses.reference.progress import progress_bar
from correspondence_losses.reference.runs.trained import TrainedModel


def predict(run: Path, images: Path, output: Path, *, opacity: float = 0.6, accelerator: str = "auto") -> None:
    """Label the images of a folder and its subfolders, of any sizes.

    For each IMAGE below the folder, OUTPUT gets IMAGE-label.png, whose pixels are the indices of the classes with
    their colours as the palette, and IMAGE-overlay.png, the colours over the image; and one legend.png. Files of
    these names are replaced, others are left alone.

    Args:
        run: The run's folder, finished or not.
        images: The folder of images: PNG, JPEG, BMP, WebP.
        output: The folder for what is made, outside of IMAGES.
        opacity: Of the colours in the overlay.
        accelerator: Fabric's, such as "auto", "cpu" or "cuda".

    Raises:
        CheckpointError: The folder holds no run or a damaged one, or its model predicts no classes.
        DataError: An image cannot be read.
        ValueError: OUTPUT lies in IMAGES, where the next call would take it for images, or ``opacity`` is not from 0
            to 1.
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must lie between 0 and 1, got {opacity}")
    if output.resolve().is_relative_to(images.resolve()):
        raise ValueError(f"output must lie outside of the images in {images}, got {output}")
    source = ImageFolder(images)
    model = TrainedModel(run, accelerator=accelerator)
    for frame in progress_bar(source.frames(), stage="predicting", unit="image"):
        image = source.image(frame)
        classes = model.classes(image)
        overlay = np.where(classes[..., None] > 0, (1 - opacity) * image + opacity * colorize(classes), image)
        label = Image.fromarray(classes)
        label.putpalette(PALETTE.tobytes())
        _save(label, output / f"{frame}-label.png")
        _save(Image.fromarray(overlay.round().astype(np.uint8)), output / f"{frame}-overlay.png")
    plot_legend(output / "legend.png", CLASS_NAMES)


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    call(predict, "predict", arguments)


def _save(picture: Image.Image, path: Path) -> None:
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG")
