"""``export``: write a run's model for other runtimes."""

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from correspondence_losses.reference.commands import call
from correspondence_losses.reference.deploy.export import export_model
from correspondence_losses.reference.deploy.published import PublishedModel
from correspondence_losses.reference.runs.trained import TrainedModel


def export(run: Path, output: Path | None = None, *, hub: str | None = None, private: bool = True) -> None:
    """Write a run's model as a program of torch.export and as ONNX, with a script that labels images by it.

    OUTPUT gets model.pt2, model.onnx and predict.py. Both models take images of any number and size, normalise them
    themselves, hold the names of the classes, and are checked against the run's model. predict.py needs onnxruntime,
    NumPy and Pillow alone.

    Args:
        run: The run's folder, finished or not.
        output: The folder for what is made. Default: export in RUN.
        hub: A repository of Hugging Face's hub, such as "me/bin-picking", that gets the model too, as PyTorch loads
            it, with a card made of the run's results. You must be logged in.
        private: Whether the repository is private, if it is made.

    Raises:
        CheckpointError: The folder holds no run or a damaged one, or its model predicts no classes.
        ExportError: The model cannot be exported.
    """
    output = run / "export" if output is None else output
    differences = export_model(TrainedModel(run, accelerator="cpu"), output)
    for name, difference in differences.items():
        tqdm.write(f"{output / name}: equal to the model, to {difference:.0e} of its largest logit")
    tqdm.write(f"{output / 'predict.py'}: python predict.py model.onnx IMAGE ... --output FOLDER")
    if hub is not None:
        tqdm.write(str(PublishedModel.from_run(run).push_to_hub(hub, private=private)))


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    call(export, "export", arguments)
