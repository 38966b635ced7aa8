"""Comparison with other packages' simulators runs only where `make torchquantum` has installed them."""

from __future__ import annotations

import os

collect_ignore = [] if os.environ.get("RIVERONE_REFERENCE_BACKENDS") == "1" else ["reference"]
