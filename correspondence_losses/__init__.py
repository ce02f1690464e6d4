"""Losses and blocks that align dense features by correspondence."""

__version__ = "0.1.0"
