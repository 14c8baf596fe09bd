"""The first minute of a new user: the commands of the README, without a key, a file or an account; and how it all ends."""

import asyncio
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.serving import starting
from tests.fakes.provider import USUAL, Provider
from tests.fakes.script import Body, End, Head
from tests.live.answering import WAYS, Told, Way, answering
from tests.live.llama import slots_idle
from tests.loopback import http_client
from tests.sources.recordings import FOLDER
from tests.tools import ROOT
from tests.waiting import CEILING, until

ENDLESS = {"prompt": "Hello", "demo": {"rate": 100, "tokens": 100_000, "reasoning": False}}
CANNOT_WAIT = {"PENSTOCK_SERVER__DRAIN": "600"}


def curl(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["curl", "-q", "--noproxy", "*", "-sN", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=CEILING)


@pytest.mark.needs("curl")
async def test_the_two_commands_of_the_readme_stream_the_demo(tmp_path: Path) -> None:
    """`make serve`, on a port of its own and with what it would install taken for installed, and the line of curl below it."""
    readme = (ROOT / "README.md").read_text()
    assert '$ make serve\n$ curl -N http://127.0.0.1:8420/v1/chat/chunked -d \'{"prompt": "Hello"}\'\n' in readme
    make = ("make", "-C", str(ROOT), "--no-print-directory", "-o", ".venv/.core")
    quick = {"PENSTOCK_DEMO__RATE": "0"}
    with starting(tmp_path, "ARGS=--port 0", environ=quick, penstock=make, code=-signal.SIGTERM) as served:
        await served.ready()
        assert served.found("listening")[0]["model"] == "demo"
        shown = await asyncio.to_thread(curl, f"{served.url}/v1/chat/chunked", "-d", '{"prompt": "Hello"}')
        assert (shown.returncode, shown.stdout[:20]) == (0, "You said: **Hello**.")
        page = await asyncio.to_thread(curl, f"{served.url}/")
        assert "<title>penstock</title>" in page.stdout


@pytest.mark.parametrize("way", WAYS)
async def test_a_base_url_in_the_environment_is_all_that_a_real_model_needs(
    tmp_path: Path, provider: Provider, way: Way
) -> None:
    environ = {"OPENAI_BASE_URL": provider.base_url, "OPENAI_API_KEY": "sk-mine"}
    with starting(tmp_path, "--model", "openai/gpt-x", environ=environ) as served:
        await served.ready()
        request = {"messages": [{"role": "user", "content": "Hello"}]}
        async with answering(served.url, way, request) as answer:
            assert await answer.rest() == Told("".join(USUAL), "finished")
    asked = await provider.next_request()
    assert (asked.json["model"], asked.headers["authorization"]) == ("gpt-x", "Bearer sk-mine")


@pytest.mark.parametrize(
    ("environ", "model", "path", "recording"),
    [
        ({"ANTHROPIC_BASE_URL": "{root}", "ANTHROPIC_API_KEY": "sk-ant"}, "anthropic/c", "/v1/messages", "anthropic_text.sse"),
        ({"OLLAMA_HOST": "{root}"}, "ollama/q", "/api/chat", "ollama_text.ndjson"),
    ],
    ids=["anthropic", "ollama"],
)  # fmt: skip
async def test_providers_of_the_environment_are_asked_in_their_own_words(
    tmp_path: Path, provider: Provider, environ: dict[str, str], model: str, path: str, recording: str
) -> None:
    root = provider.base_url.removesuffix("/v1")
    kind = "application/x-ndjson" if recording.endswith("ndjson") else "text/event-stream"
    provider.script(Head(headers={"Content-Type": kind}), Body((FOLDER / recording).read_bytes()), End())
    found = {name: value.format(root=root) for name, value in environ.items()}
    with starting(tmp_path, "--model", model, environ=found) as served:
        await served.ready()
        request = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
        async with answering(served.url, "sse", request) as answer:
            told = await answer.rest()
    assert (told.end, told.text.endswith("🚰.")) == ("finished", True)
    asked = await provider.next_request()
    assert (asked.path, asked.headers.get("x-api-key")) == (path, found.get("ANTHROPIC_API_KEY"))


@pytest.mark.needs("llama")
async def test_a_real_model_without_a_key_streams_over_all_transports(tmp_path: Path, llama_server: str) -> None:
    with starting(tmp_path, environ={"OPENAI_BASE_URL": llama_server}) as served:
        await served.ready()
        for way in WAYS:
            request = {
                "model": "openai/tiny",
                "messages": [{"role": "user", "content": "Hello"}],
                "max_tokens": 20,
                "ignore_eos": True,
            }
            async with answering(served.url, way, request) as answer:
                told = await answer.rest()
            assert (told.end, told.text != "") == ("finished", True)
    await slots_idle(llama_server)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_open_streams_with_a_retryable_word_and_the_process_with_zero(
    tmp_path: Path, how: signal.Signals
) -> None:
    with starting(tmp_path) as served:
        await served.ready()
        async with (
            answering(served.url, "ndjson", ENDLESS) as lines,
            answering(served.url, "ws", ENDLESS) as socket,
            answering(served.url, "text", ENDLESS) as text,
        ):
            for answer in (lines, socket, text):
                await answer.first()
            served.process.send_signal(how)
            ends = [(await answer.rest()).end for answer in (lines, socket, text)]
        assert ends == ["interrupted", "interrupted", "cut"]
        assert await asyncio.to_thread(served.process.wait, CEILING) == 0


async def test_a_server_that_waits_for_its_runs_takes_no_new_ones_and_ends_at_the_second_signal(tmp_path: Path) -> None:
    with starting(tmp_path, environ=CANNOT_WAIT) as served:
        await served.ready()
        async with http_client(served.url) as client:
            async with answering(served.url, "ndjson", ENDLESS) as answer:
                await answer.first()
                served.process.send_signal(signal.SIGINT)

                async def drains() -> bool:
                    return (await client.get("/readyz")).status_code == 503

                await until("it is not ready any more", drains)
                refused = await client.post("/v1/streams", json={"prompt": "Hello"})
                assert (refused.status_code, refused.json()["error"]["code"]) == (503, "interrupted")
                so_far = len(answer.told().text)
                while len(answer.told().text) == so_far:
                    assert await answer.more()
                served.process.send_signal(signal.SIGINT)
                told = await answer.rest()
            assert told.end in ("interrupted", "cut")
        assert await asyncio.to_thread(served.process.wait, CEILING) == 0, served.log.read_text()
    assert "Traceback" not in served.log.read_text()
