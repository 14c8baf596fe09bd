"""The fixtures every test may ask for, each kept in the file of the thing it starts."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["pytester", "tests.needs", "tests.browser.chromium", "tests.fakes.provider", "tests.live.llama"]

# How long an example takes says something about the machine and nothing about the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
