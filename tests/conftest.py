"""The fixtures every test may ask for, each kept in the file of the thing it starts; and how hard hypothesis looks.

`HYPOTHESIS_PROFILE=chaos` tries a hundred times as many examples of every law that does not set its own number.
"""

import gc
import os

from hypothesis import HealthCheck, Phase, settings

pytest_plugins = ["pytester", "tests.needs", "tests.browser.chromium", "tests.fakes.provider", "tests.live.llama"]

# No example is judged by its time; explaining a failure costs minutes, so it is left out.
settings.register_profile(
    "quick",
    deadline=None,
    max_examples=20,
    stateful_step_count=60,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.register_profile("chaos", settings.get_profile("quick"), max_examples=2000, stateful_step_count=80)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_collection_finish() -> None:
    """Whoever looks for what a test left behind need not go through all modules and all other tests each time: a quarter of a second."""
    gc.collect()
    gc.freeze()
