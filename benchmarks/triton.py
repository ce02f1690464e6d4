"""The switch of the Triton kernels, which are off by default."""

import os

NOTE = "ours with CORRESPONDENCE_LOSSES_TRITON=1"


def switch_on() -> None:
    """Let the functions use the kernels; the compiled path does not look at the switch."""
    os.environ["CORRESPONDENCE_LOSSES_TRITON"] = "1"
