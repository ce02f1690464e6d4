"""Label images with an exported model: ``python predict.py model.onnx IMAGE ... --output FOLDER``.

It needs onnxruntime, NumPy and Pillow, and nothing else: copy this file and the model to where they are used. In a
program of your own:

    model = Model("model.onnx")
    classes = model.classes(image)  # (H, W, 3) RGB, 8 bit -> (H, W) indices of model.class_names
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image, ImageOps

__all__ = ["Model"]


class Model:
    """An exported model, with what it says of itself.

    Args:
        path: The file ``model.onnx``.
        providers: onnxruntime's, such as ``["CUDAExecutionProvider", "CPUExecutionProvider"]``. Default: those of the
            installed package.

    Attributes:
        class_names: Names of the classes, the background first.
        colors: A colour for each class, (classes, 3).
        size: Height and width that images are predicted at.
    """

    def __init__(self, path: str | Path, providers: Sequence[str] | None = None) -> None:
        providers = onnxruntime.get_available_providers() if providers is None else providers
        self.session: Any = onnxruntime.InferenceSession(str(path), providers=list(providers))
        said = self.session.get_modelmeta().custom_metadata_map
        if "correspondence-losses" not in said:
            raise ValueError(f"{path}: is no model that correspondence-losses exported")
        description = json.loads(said["correspondence-losses"])
        self.class_names: list[str] = description["class_names"]
        self.colors: NDArray[np.uint8] = np.array(description["colors"], np.uint8)
        self.size: tuple[int, int] = tuple(description["prediction_size"])

    def logits(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Return class scores (b, classes, H, W) of images (b, 3, H, W) with values from 0 to 1, of any size."""
        logits: NDArray[np.float32] = self.session.run(None, {"images": images.astype(np.float32)})[0]
        return logits

    def classes(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the class (H, W) of each pixel of an image (H, W, 3), RGB of 8 bit and of any size."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"image must be (H, W, 3) of uint8, got {image.shape} of {image.dtype}")
        height, width = self.size
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        values = np.asarray(resized, np.float32).transpose(2, 0, 1)[None] / 255
        scores = _resized(self.logits(values)[0], (image.shape[0], image.shape[1]))
        classes: NDArray[np.uint8] = scores.argmax(0).astype(np.uint8)
        return classes


def _resized(maps: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Interpolate maps (c, h, w) bilinearly, by the centres of their cells."""
    for axis, extent in enumerate(size, start=1):
        length = maps.shape[axis]
        if length == extent:
            continue
        centre = np.clip((np.arange(extent) + 0.5) * length / extent - 0.5, 0, length - 1)
        low = np.floor(centre).astype(int)
        share = (centre - low).astype(maps.dtype).reshape((-1, 1) if axis == 1 else (-1,))
        high = np.minimum(low + 1, length - 1)
        maps = (1 - share) * maps.take(low, axis) + share * maps.take(high, axis)
    return maps


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Label images with an exported model.")
    parser.add_argument("model", type=Path, help="model.onnx")
    parser.add_argument("images", type=Path, nargs="+", help="the images")
    parser.add_argument("--output", type=Path, default=Path(), help="the folder for IMAGE-label.png and -overlay.png")
    chosen = parser.parse_args(arguments)
    model = Model(chosen.model)
    chosen.output.mkdir(parents=True, exist_ok=True)
    for path in chosen.images:
        with Image.open(path) as opened:
            image = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
        classes = model.classes(image)
        label = Image.fromarray(classes)
        label.putpalette(model.colors.tobytes())
        label.save(chosen.output / f"{path.stem}-label.png")
        overlay = np.where(classes[..., None] > 0, 0.4 * image + 0.6 * model.colors[classes], image)
        Image.fromarray(overlay.round().astype(np.uint8)).save(chosen.output / f"{path.stem}-overlay.png")
        shares = np.bincount(classes.ravel(), minlength=len(model.class_names)) / classes.size
        found = [f"{model.class_names[i]} {100 * shares[i]:.1f} %" for i in np.argsort(-shares) if shares[i] > 0]
        sys.stdout.write(f"{path}: {', '.join(found)}\n")


if __name__ == "__main__":
    main()
