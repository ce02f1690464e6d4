"""One thread for each test process where several share the cores: threads that wait for each other would starve."""

import os
from importlib.util import find_spec

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Triton comes with PyTorch for CUDA only.
collect_ignore_glob = [] if find_spec("triton") else ["correspondence_losses/*/_triton_*.py"]
