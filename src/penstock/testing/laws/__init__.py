"""Law suites: plain functions that raise `AssertionError` with what was found and what was expected."""
