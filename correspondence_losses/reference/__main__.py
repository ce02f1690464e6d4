"""Commands of the reference trainer: ``python -m correspondence_losses.reference COMMAND --help``."""

from jsonargparse import auto_cli

from correspondence_losses.reference.presegmentation import presegment_folder
from correspondence_losses.reference.scenes import commands as scenes
from correspondence_losses.reference.views.draw import draw_arrangements

if __name__ == "__main__":
    auto_cli(
        {
            "masks": presegment_folder,
            "scenes": {
                "generate": scenes.generate,
                "pairs": scenes.pairs,
                "single_objects": scenes.single_objects,
                "sheet": scenes.sheet,
            },
            "views": draw_arrangements,
        },
        as_positional=True,
    )
