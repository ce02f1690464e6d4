"""Commands of the reference trainer: ``correspondence-losses COMMAND --help``."""

import argparse
import importlib
from collections.abc import Sequence

COMMANDS = {
    "train": "train one row of a table, score it and draw its figures",
    "sweep": "run the rows of tables, and write their results beside the thesis's",
    "evaluate": "score a run's model class by class",
    "predict": "label a folder of images with a run's model",
    "export": "write a run's model as torch.export and ONNX, and publish it",
    "adapt": "learn to label a folder of images from labelled images of another domain",
    "show": "show several runs side by side, on one page or as curves",
    "presets": "list the rows of all tables",
    "masks": "segment images beforehand",
    "scenes": "render data sets of tabletop scenes",
    "views": "draw arrangements of views with their correspondences",
}


def main(args: Sequence[str] | None = None) -> None:
    """Run the command that the arguments name, by default those of the command line."""
    parser = argparse.ArgumentParser(
        prog="correspondence-losses",
        usage="%(prog)s COMMAND ...",
        description="The reference trainer. COMMAND --help says more of each command.",
        epilog="commands:\n" + "".join(f"  {name:<10} {text}\n" for name, text in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="its arguments")
    chosen = parser.parse_args(args)
    try:
        command = importlib.import_module(f"correspondence_losses.reference.commands.{chosen.command}")
        errors = importlib.import_module("correspondence_losses.reference.runs.errors")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("correspondence_losses"):
            raise
        parser.exit(1, f"error: {chosen.command} needs {error.name}: pip install 'correspondence-losses[reference]'\n")
    with errors.one_line_errors():
        command.main(chosen.arguments)


if __name__ == "__main__":
    main()
