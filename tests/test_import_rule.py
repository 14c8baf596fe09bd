"""Keeps the rooms of `src/penstock/` apart: which may import which, and what may never happen in a pure one."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
PENSTOCK = SRC / "penstock"

# room: the rooms it may import beside itself. What is not listed (registry, assembly, cli, web, testing …) may meet everyone.
NEIGHBOURS = {
    "core": set[str](),
    "dialects": {"core"},
    "encoders": {"core"},
    "flow": {"core"},
    "sources": {"core"},
    "stages": {"core", "tools", "retrieval", "memory"},
    "stores": {"core", "flow.store"},
    "auth": {"core"},
    "telemetry": {"core"},
    "tools": {"core"},
    "retrieval": {"core"},
    "memory": {"core"},
    "config": {"core"},
    "server": {"core", "encoders", "flow", "auth"},
}
# room: the libraries it may import beside the standard one. What is not listed chooses its own.
LIBRARIES = {
    "core": {"msgspec"},
    "dialects": {"msgspec", "orjson"},
    "encoders": {"msgspec", "orjson"},
    "flow": {"anyio", "msgspec"},
}
# No clock, no loop, no socket in core; and a pure room never waits.
WORLDLY = {"asyncio", "selectors", "signal", "socket", "ssl", "subprocess", "threading", "time"}
PURE = ("core", "dialects", "encoders")


def modules(room: str) -> list[Path]:
    return sorted((PENSTOCK / room).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Every module the file imports, also inside functions; of `from a import b` the longest name that is a module."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            for alias in node.names:
                if (module, alias.name) == ("penstock", "__version__"):
                    continue  # a constant that every room may show
                inner = SRC.joinpath(*module.split("."), alias.name)
                yield f"{module}.{alias.name}" if inner.is_dir() or inner.with_suffix(".py").exists() else module


def trespasses(room: str, path: Path) -> Iterator[str]:
    allowed = NEIGHBOURS[room] | {room}
    for name in imports(path):
        first, _, inner = name.partition(".")
        if first == "penstock":
            if not any(inner == place or inner.startswith(f"{place}.") for place in allowed):
                yield name
        elif first in sys.stdlib_module_names:
            if room in PURE and first in WORLDLY:
                yield name
        elif first not in LIBRARIES.get(room, {first}):
            yield name


@pytest.mark.parametrize("room", NEIGHBOURS)
def test_a_room_imports_only_what_its_row_allows(room: str) -> None:
    found = {str(path.relative_to(SRC)): sorted(set(trespasses(room, path))) for path in modules(room)}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize("room", ["dialects", "encoders"])
def test_a_pure_room_never_waits(room: str) -> None:
    waits = ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith | ast.Await
    found = [
        f"{path.relative_to(SRC)}:{node.lineno}"
        for path in modules(room)
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, waits)
    ]
    assert found == []


def test_the_rule_sees_a_trespass(tmp_path: Path) -> None:
    intruder = tmp_path / "intruder.py"
    intruder.write_text(
        "import time\nimport starlette.routing\nfrom penstock.flow import log\n"
        "def late():\n    from penstock.dialects.native import Native\n    from penstock.core import events\n"
    )
    assert sorted(trespasses("encoders", intruder)) == [
        "penstock.dialects.native",
        "penstock.flow.log" if (PENSTOCK / "flow" / "log.py").exists() else "penstock.flow",
        "starlette.routing",
        "time",
    ]


def test_every_room_is_known() -> None:
    free = {"cli", "web", "testing"}
    rooms = {path.name for path in PENSTOCK.iterdir() if path.is_dir() and list(path.rglob("*.py"))}
    assert rooms - set(NEIGHBOURS) - free == set()
