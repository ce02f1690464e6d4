"""Time a training step of the main job (FPN + SAM pooling, scale laptop) by part, in processor time.

    OMP_NUM_THREADS=1 python -m benchmarks.step

The scenes are a few embedded ones, rendered the first time. Each frame is decoded before the steps that count.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import TypeVar, cast

import torch

from benchmarks.machine import describe_machine
from correspondence_losses.reference.engine.averaging import WeightAverage
from correspondence_losses.reference.engine.optimizer import create_optimizer, parameter_rates
from correspondence_losses.reference.experiments.run_data import RunData
from correspondence_losses.reference.experiments.segmentation import SegmentationSettings
from correspondence_losses.reference.models.segmentation import SegmentationModel
from correspondence_losses.reference.runs.command_line import settings_from_command_line
from correspondence_losses.reference.runs.run import launch
from correspondence_losses.reference.seeding import seed_step
from correspondence_losses.reference.streams.samples import collate_samples

T = TypeVar("T")
WARM_UP = 8
"""Steps that do not count."""


def main(arguments: list[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks/step"), metavar="DIR")
    options = parser.parse_args(arguments)
    seconds, loss = profile(_main_job(options.output), options.steps)
    total = sum(map(statistics.median, seconds.values()))
    lines = ["| part | median, ms | least, ms | share |", "| --- | --- | --- | --- |"]
    for part, times in seconds.items():
        median = statistics.median(times)
        lines.append(f"| {part} | {1e3 * median:.1f} | {1e3 * min(times):.1f} | {median / total:.0%} |")
    lines += [
        f"| all | {1e3 * total:.1f} | | |",
        "",
        f"loss of the last step: {loss!r}",
        str(describe_machine(torch.device("cpu"))),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def _main_job(output: Path) -> SegmentationSettings:
    settings = settings_from_command_line(
        preset="sam_fpn", description=None, tables=["4.4"],
        args=["--scenes.num_synthetic", "24", "--scenes.num_target", "16", "--scenes.num_test", "0",
              "--scenes_folder", str(output / "scenes"), "--output", str(output), "--evaluation", "null"],
    )  # fmt: skip
    return cast(SegmentationSettings, settings)


def profile(settings: SegmentationSettings, steps: int) -> tuple[dict[str, list[float]], float]:
    """Return the processor time of each part in each of so many steps, and the loss of the last.

    They are the steps of a run with these settings, which must clip gradients, but at a constant learning rate.
    """
    fabric = launch(settings)
    stream = settings.task(RunData(fabric, settings)).stream
    seed_step(settings.seed, -1 % 2**32, 0)
    module = cast(SegmentationModel, settings.create_model(22)).to(memory_format=torch.channels_last)
    rates = parameter_rates(
        module, module.backbone.stages(), backbone_lr_scale=settings.backbone_lr_scale, layer_decay=settings.layer_decay
    )
    model = fabric.setup_module(module)
    optimizer = fabric.setup_optimizers(
        create_optimizer(
            module, settings.optimizer, rates, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay
        )
    )
    average = WeightAverage(module, settings.weight_average)
    seconds: dict[str, list[float]] = {}

    def timed(part: str, function: Callable[[], T]) -> T:
        start = process_time()
        result = function()
        seconds.setdefault(part, []).append(process_time() - start)
        return result

    module.train()
    loss = float("nan")
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            seconds.clear()
        first = step * settings.batch_size
        samples = range(first, first + settings.batch_size)
        batch = timed("samples", lambda samples=samples: collate_samples([stream[index] for index in samples]))
        images = torch.cat([batch[name] for name in module.seen_images])
        size = (images.shape[-2] // settings.head_stride, images.shape[-1] // settings.head_stride)
        maps = timed("backbone", lambda images=images: module.backbone(images))
        output_of_head = timed("head", lambda maps=maps, size=size: module.head(maps, size))
        terms = timed("losses", lambda b=batch, o=output_of_head: module.losses(b, o.logits, o.features))
        timed("backward pass", lambda terms=terms: fabric.backward(terms["loss"]))
        timed("clipping", lambda: fabric.clip_gradients(model, optimizer, max_norm=settings.clip_gradients))
        timed("optimiser", lambda: (optimizer.step(), optimizer.zero_grad()))
        timed("average of the weights", average.update)
        loss = terms["loss"].item()
    return seconds, loss


if __name__ == "__main__":
    main()
