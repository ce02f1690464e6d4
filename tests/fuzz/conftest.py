"""The helpers that write data sets lie beside the tests of the readers."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "reference"))
