"""The reference trainer for YCB-Video; nothing in the library imports it."""
