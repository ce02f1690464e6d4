"""Commands of the reference trainer: ``python -m correspondence_losses.reference COMMAND --help``."""

from jsonargparse import auto_cli

from correspondence_losses.reference.presegmentation import presegment_folder

if __name__ == "__main__":
    auto_cli({"masks": presegment_folder}, as_positional=True)
