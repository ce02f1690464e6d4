"""``scenes``: render data sets of tabletop scenes."""

from collections.abc import Sequence

from correspondence_losses.reference.commands import call
from correspondence_losses.reference.scenes.commands import generate, pairs, sheet, single_objects


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    call({"generate": generate, "pairs": pairs, "single_objects": single_objects, "sheet": sheet}, "scenes", arguments)
