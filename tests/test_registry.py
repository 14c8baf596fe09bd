"""Names of plug-ins: ours, those of other packages, and those that nobody registered."""

import json
from collections.abc import AsyncGenerator
from importlib import import_module
from pathlib import Path

import pytest

from penstock.config.load import load
from penstock.config.model import Config
from penstock.core.events import Event, Finished, Note, Started
from penstock.core.request import ChatRequest, Run
from penstock.core.source import Source
from penstock.registry import TABLES, UnknownName, names, resolve
from tests.serving import serving


def announcing(source: Source) -> Source:
    """A stage of another package: it says that it was there."""

    async def wrapped(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        async for event in source(request, run):
            yield event
            if isinstance(event, Started):
                yield Note("announced", request.prompt)

    return wrapped


async def brief(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
    yield Started(run.id, request.model, run.created)
    yield Finished()


@pytest.fixture
def another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution that registers a stage, and tries to take the name of a dialect of ours."""
    metadata = tmp_path / "other-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        f"[penstock.stages]\nannouncing = {__name__}:announcing\n[penstock.dialects]\nnative = {__name__}:announcing\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.fixture
def chunked_with_stages(another_package: None, tmp_path: Path) -> Config:
    """The configuration of a file that puts the stage of the other package before one route."""
    file = tmp_path / "penstock.toml"
    file.write_text("[[route]]\npath = '/v1/chat/chunked'\ntransport = ['ndjson']\nstages = ['announcing']\n")
    return load({}, file=file, names=names)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, table in TABLES.items() for name in table])
def test_every_name_of_the_tables_stands_for_something(kind: str, name: str) -> None:
    module, _, attribute = TABLES[kind][name].partition(":")
    assert resolve(kind, name) is getattr(import_module(module), attribute)


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        ("dialects", "natve", "no dialect is called 'natve'; did you mean 'native'?"),
        ("stores", "x", "no store is called 'x'; there are memory"),
        ("stages", "retry", "no stage is called 'retry'"),
    ],
)
def test_a_name_that_nobody_registered_is_answered_with_the_nearest(kind: str, name: str, told: str) -> None:
    with pytest.raises(UnknownName) as caught:
        resolve(kind, name)
    assert str(caught.value) == told


@pytest.mark.usefixtures("another_package")
def test_another_package_adds_names_but_takes_none_of_ours() -> None:
    assert names("stages") == ["announcing"]
    assert resolve("stages", "announcing").__name__ == "announcing"
    assert names("dialects") == list(TABLES["dialects"])
    assert resolve("dialects", "native").__name__ == "NativeDialect"


async def test_a_route_of_the_configuration_has_the_stages_of_another_package(chunked_with_stages: Config) -> None:
    asked = {"model": "brief", "prompt": "hi"}
    async with serving(chunked_with_stages, sources={"brief": brief}) as served, served.client() as client:
        told = {}
        for path in ("/v1/chat/chunked", "/v1/streams"):
            answer = await client.post(path, json=asked, headers={"accept": "application/x-ndjson"})
            told[path] = [json.loads(line)["type"] for line in answer.text.splitlines()]
    assert told == {"/v1/chat/chunked": ["started", "note", "finished"], "/v1/streams": ["started", "finished"]}
