"""One quick demo server for the tests of the commands that talk to one."""

from collections.abc import AsyncIterator, Iterator

import pytest

from penstock.cli.client import Client, connected
from tests.cli.serving import Served, starting

QUICK = """
[demo]
rate = 0
tokens = 150
"""


@pytest.fixture(scope="session")
def _started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with starting(tmp_path_factory.mktemp("quick"), config=QUICK) as served:
        yield served


@pytest.fixture
async def quick(_started: Served) -> Served:
    """A server whose demo says 150 tokens as fast as they are read; shared, so nobody may stop it."""
    await _started.ready()
    return _started


@pytest.fixture
async def client(quick: Served) -> AsyncIterator[Client]:
    async with connected(quick.url) as client:
        yield client


SPEAKER = '''
import asyncio
from pathlib import Path


async def speaker(request):
    """Does what it is told, so that a test knows what comes."""
    match request.prompt:
        case "count":
            yield f"I have {len(request.messages)} messages."
        case "escape":
            yield "before \\x1b[2Jand\\x07 after"
        case "markdown":
            for piece in ("# Head", "line\\n\\nSome **bo", "ld** words.\\n\\n```python\\n", "x = 1\\n\\ny = 2\\n```\\n\\n- last"):
                yield piece
        case "wait":
            while not Path("go").exists():
                await asyncio.sleep(0.01)
            yield "At last."
        case "fail":
            yield "Hel"
            raise RuntimeError("never shown")
        case _:
            for number in range(1, 10):
                yield f"word{number} "
            await asyncio.Event().wait()
'''


@pytest.fixture(scope="session")
def _speaking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("speaking")
    (folder / "speaking.py").write_text(SPEAKER)
    with starting(folder, "--model", "speaking:speaker", environ={"PYTHONPATH": str(folder)}) as served:
        yield served


@pytest.fixture
async def speaking(_speaking: Served) -> Served:
    """A server whose model does what it is told: `count`, `wait` for the file `go`, `fail`, or say nine words and never end."""
    await _speaking.ready()
    return _speaking
