"""The fixtures every test may ask for, each kept in the file of the thing it starts."""

pytest_plugins = ["pytester", "tests.needs", "tests.browser.chromium", "tests.fakes.provider", "tests.live.llama"]
