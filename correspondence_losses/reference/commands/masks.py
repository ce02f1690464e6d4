"""``masks``: segment images beforehand."""

from collections.abc import Sequence

from correspondence_losses.reference.commands import call
from correspondence_losses.reference.segments import presegment_folder


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    call(presegment_folder, "masks", arguments)
