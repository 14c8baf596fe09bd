"""Laws that look hard take as long as they take."""

from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """No time limit where more examples than usual were asked for."""
    if "HYPOTHESIS_PROFILE" in os.environ:
        for item in items:
            if item.path.parent.name == "laws":
                item.add_marker(pytest.mark.timeout(0))
