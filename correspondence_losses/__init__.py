"""Losses and blocks that align dense features by correspondence.

Producers (:mod:`correspondence_losses.correspond`) decide which feature vectors correspond. Losses
(:mod:`correspondence_losses.losses`, over the functions of :mod:`correspondence_losses.functional`) say what should
hold of them. Blocks (:mod:`correspondence_losses.blocks`) drop into a model. Every public name of these four packages
can be imported from here. The trainer in ``correspondence_losses.reference`` is an extra and is not imported here.
"""

from correspondence_losses import blocks, correspond, functional, losses
from correspondence_losses.blocks import *  # noqa: F403
from correspondence_losses.correspond import *  # noqa: F403
from correspondence_losses.functional import *  # noqa: F403
from correspondence_losses.losses import *  # noqa: F403

__version__ = "0.2.0"

__all__ = ["__version__", "blocks", "correspond", "functional", "losses"]
__all__ += functional.__all__
__all__ += correspond.__all__
__all__ += losses.__all__
__all__ += blocks.__all__
