"""``masks``: segment images beforehand."""

from collections.abc import Sequence

from correspondence_losses.reference.commands import call, print_missing
from correspondence_losses.reference.segments import missing_segments, presegment_folder


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    if arguments[:1] == ["missing"]:
        print_missing(call(missing_segments, "masks missing", arguments[1:]))
    else:
        call(presegment_folder, "masks", arguments)
