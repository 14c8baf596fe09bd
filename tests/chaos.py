"""Whether the suite looks long and hard: `make chaos` sets HYPOTHESIS_PROFILE=chaos, which also lengthens what churns."""

import os

CHAOS = os.environ.get("HYPOTHESIS_PROFILE") == "chaos"
