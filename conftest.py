"""One thread for each test process where several share the cores: threads that wait for each other would starve."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
