"""Kill a small training at every so many steps, go on, and compare: ``python tests/fuzz/kills.py --every 50``.

The process dies by SIGKILL at a step, and the same settings go on. In the end the run must hold the same numbers, bit
for bit, as one that went through. Needs what the tests need.
"""

import argparse
import dataclasses
import multiprocessing
import os
import signal
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "helpers"))

from runs import assert_same_numbers
from ycb_layouts import write_tiny

from correspondence_losses.reference.engine import loop
from correspondence_losses.reference.experiments import SegmentationSettings
from correspondence_losses.reference.runs.run import run
from correspondence_losses.reference.segments import FelzenszwalbSegmenter
from correspondence_losses.reference.streams.images import Augmentation


def train(settings: SegmentationSettings, dies_at: int | None) -> None:
    """Run settings, and die at the begin of a step."""
    seed_step = loop.seed_step

    def begin(seed: int, step: int, rank: int) -> None:
        if step == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        seed_step(seed, step, rank)

    loop.seed_step = begin
    run(settings)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--every", type=int, default=50)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        folder = Path(name)
        settings = SegmentationSettings(
            data=write_tiny(folder / "data"),
            output=folder / "whole",
            evaluation="val",
            backbone="convnext_atto",
            pretrained=False,
            image_size=(32, 32),
            fpn_channels=4,
            augmentation=Augmentation(crop_scale=(0.3, 1.0), flip=0.5, jitter=0.3),
            segmenter=FelzenszwalbSegmenter(scale=50, min_size=20),
            masks=folder / "masks",
            epochs=2,
            steps_per_epoch=arguments.steps // 2,
            checkpoint_every=7,  # so that most kills lose some steps
            average_epochs=1,
            weight_average=0.9,
            log_every=2,
            num_workers=0,
            accelerator="cpu",
        )
        kills = [*range(arguments.every, arguments.steps, arguments.every)]
        for output, deaths in (("whole", [None]), ("killed", [*kills, None])):
            for dies_at in deaths:
                job = multiprocessing.get_context("spawn").Process(
                    target=train, args=(dataclasses.replace(settings, output=folder / output), dies_at)
                )
                job.start()
                job.join()
                if job.exitcode != (0 if dies_at is None else -signal.SIGKILL):
                    sys.stdout.write(f"{output}, to die at {dies_at}: ended with {job.exitcode}\n")
                    return 1
        assert_same_numbers(folder / "whole", folder / "killed")
    sys.stdout.write(f"killed at {kills} of {arguments.steps} steps: the same numbers as the run that went through\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
