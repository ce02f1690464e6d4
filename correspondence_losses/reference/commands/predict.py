"""``predict``: label a folder of images with a run's model."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from correspondence_losses.reference.commands import call
from correspondence_losses.reference.data import ImageFolder
from correspondence_losses.reference.engine.prediction import PredictionWays
from correspondence_losses.reference.figures.colors import PALETTE, colorize
from correspondence_losses.reference.figures.plots import plot_legend
from correspondence_losses.reference.files import atomic_path
from correspondence_losses.reference.progress import progress_bar
from correspondence_losses.reference.runs.trained import TrainedModel
from correspondence_losses.reference.segments import Segmenter


def predict(
    run: Path,
    images: Path,
    output: Path,
    *,
    scales: list[float] | None = None,
    mirror: bool = False,
    segmenter: Segmenter | None = None,
    min_confidence: float = 0.0,
    object_threshold: float = 0.0,
    opacity: float = 0.6,
    accelerator: str = "auto",
) -> None:
    """Label the images of a folder and its subfolders, of any sizes.

    For each image NAME below the folder, OUTPUT gets labels/NAME.png, whose pixels are the indices of the classes with
    their colours as the palette, and overlays/NAME.jpg, the colours over the image; and one legend.png. NAME keeps the
    image's ending only where another image has the same name without. Files of these names are replaced, others are
    left alone.

    Args:
        run: The run's folder, finished or not.
        images: The folder of images: PNG, JPEG, BMP, WebP.
        output: The folder for what is made, outside of IMAGES.
        scales: Predict at several sizes, factors on the run's own, and average. Default: at its own alone.
        mirror: Predict the mirrored image too, and average.
        segmenter: Let the segments of each image vote for their class, such as those of "FelzenszwalbSegmenter".
            Default: no vote.
        min_confidence: Least probability of its class that a segment votes with.
        object_threshold: Least probability of its class for a pixel of an object; a pixel below it is background.
        opacity: Of the colours in the overlay.
        accelerator: Fabric's, such as "auto", "cpu" or "cuda".

    Raises:
        CheckpointError: The folder holds no run or a damaged one, or its model predicts no classes.
        DataError: An image cannot be read.
        ValueError: OUTPUT lies in IMAGES, where the next call would take it for images, or a number is out of range.
    """
    check_output(images, output, opacity)
    ways = PredictionWays(
        scales=tuple(scales or (1.0,)),
        mirror=mirror,
        segmenter=segmenter,
        min_confidence=min_confidence,
        object_threshold=object_threshold,
    )
    source = ImageFolder(images)
    model = TrainedModel(run, accelerator=accelerator)
    names = names_without_endings(source.frames())
    for frame, name in progress_bar(names.items(), stage="predicting", unit="image", total=len(names)):
        image = source.image(frame)
        classes = model.predict(image, ways).best().to("cpu").numpy().astype(np.uint8)
        write_labels(output, name, image, classes, opacity)
    plot_legend(output / "legend.png", model.class_names)


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    call(predict, "predict", arguments)


def check_output(images: Path, output: Path, opacity: float) -> None:
    """Raise ``ValueError`` where ``output`` lies in ``images``, or ``opacity`` is not from 0 to 1."""
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must lie between 0 and 1, got {opacity}")
    if output.resolve().is_relative_to(images.resolve()):
        raise ValueError(f"output must lie outside of the images in {images}, got {output}")


def names_without_endings(frames: Sequence[str]) -> dict[str, str]:
    """Return the name of each image's files, by the image: without its ending where that is clear.

    Example:
        >>> names_without_endings(["a.png", "b.png", "deep/b.jpg", "a.jpg"])
        {'a.png': 'a.png', 'b.png': 'b', 'deep/b.jpg': 'deep/b', 'a.jpg': 'a.jpg'}
    """
    bare = {frame: PurePosixPath(frame).with_suffix("").as_posix() for frame in frames}
    taken = Counter(bare.values()) + Counter(frames)
    return {frame: name if taken[name] == 1 else frame for frame, name in bare.items()}


def write_labels(output: Path, name: str, image: NDArray[np.uint8], classes: NDArray[np.uint8], opacity: float) -> None:
    """Write the class map (H, W) of an image as ``labels/NAME.png``, and over the image as ``overlays/NAME.jpg``."""
    overlay = np.where(classes[..., None] > 0, (1 - opacity) * image + opacity * colorize(classes), image)
    label = Image.fromarray(classes)
    label.putpalette(PALETTE.tobytes())
    with atomic_path(output / "labels" / f"{name}.png") as temporary:
        label.save(temporary, format="PNG")
    with atomic_path(output / "overlays" / f"{name}.jpg") as temporary:
        Image.fromarray(overlay.round().astype(np.uint8)).save(temporary, format="JPEG", quality=92)
