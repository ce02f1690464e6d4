"""Draw every arrangement of views: ``python -m correspondence_losses.reference.views DATA OUTPUT --models DIR``."""

from jsonargparse import auto_cli

from correspondence_losses.reference.views.draw import draw_arrangements

if __name__ == "__main__":
    auto_cli(draw_arrangements, as_positional=True)
