"""``views``: draw arrangements of views."""

from collections.abc import Sequence

from correspondence_losses.reference.commands import call
from correspondence_losses.reference.views.draw import draw_arrangements


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    call(draw_arrangements, "views", arguments)
