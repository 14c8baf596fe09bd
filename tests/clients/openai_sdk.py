"""Runs `openai_reader.py` beside this file under the openai version a test names."""

import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.clients.reader import reader
from tests.tools import venv_python

SCRIPT = Path(__file__).with_name("openai_reader.py")
Version = Literal["2", "3"]

# Parametrize a test over both versions that are in use; the older one lives in an environment of its own.
BOTH_VERSIONS = [pytest.param("2", marks=pytest.mark.needs("openai2")), "3"]


async def read_with_openai(version: Version, base_url: str, *flags: str) -> list[dict[str, Any]]:
    """Everything the SDK handed to its user, in order; the last line says how it ended."""
    python = sys.executable if version == "3" else str(venv_python("openai2"))
    return [line async for line in reader(python, SCRIPT).lines([base_url, *flags])]


def content(lines: list[dict[str, Any]], *, choice: int = 0) -> str:
    """The text a user would have put together from the streamed lines."""
    pieces = [
        part["delta"].get("content") or ""
        for line in lines
        for part in line.get("choices", [])
        if part["index"] == choice
    ]
    return "".join(pieces)
