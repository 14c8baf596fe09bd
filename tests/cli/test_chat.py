"""`penstock chat` and `penstock streams`: in a pipe, and on a terminal with somebody at the keys."""

import json
import re
import signal
import subprocess
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, get_args

import pytest

from penstock.cli.chat import TRANSPORTS
from penstock.cli.client import Client, Transport, Turn, connected
from penstock.cli.screen import UNPRINTABLE, Parts, finished_blocks, last_rows
from tests.cli.serving import PENSTOCK, Served, clean_environment
from tests.cli.terminal import CTRL_C, CTRL_D, Terminal, terminal
from tests.fakes.cutting_proxy import CuttingProxy, Plan


async def run(served: Served, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
    """A command in a pipe: exit code, standard output, standard error."""
    process = await create_subprocess_exec(
        *PENSTOCK,
        *arguments,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=clean_environment(PENSTOCK_URL=served.url),
    )
    out, err = await process.communicate(stdin.encode())
    return await process.wait(), out.decode(), err.decode()


async def held(client: Client) -> dict[str, Any]:
    """How every run of a server ended, by its id."""
    return {stream["id"]: stream["end"] for stream in await client.streams()}


async def begun_since(client: Client, before: dict[str, Any]) -> list[Any]:
    """How the runs ended that were not there before."""
    return [end for stream, end in (await held(client)).items() if stream not in before]


async def said_by(client: Client, stream: str) -> str:
    """The text of a run as the server holds it."""
    parts = (await client.ask("GET", f"/v1/streams/{stream}"))["snapshot"]["parts"]
    return "\n\n".join(part["text"] for part in parts if part["kind"] == "text")


# -- in a pipe -------------------------------------------------------------------------------------------------------


def test_the_transports_of_the_flag_are_those_of_the_client() -> None:
    assert tuple(TRANSPORTS) == get_args(Transport)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_one_question_gives_the_words_of_the_answer_alone(quick: Served, client: Client, transport: str) -> None:
    before = await held(client)
    code, out, err = await run(quick, "chat", "--prompt", "Hello", "--transport", transport)
    (stream,) = set(await held(client)) - set(before)
    assert (code, out, err) == (0, await said_by(client, stream) + "\n", "")


async def test_a_question_may_come_on_standard_input(quick: Served) -> None:
    code, out, _ = await run(quick, "chat", stdin="What is a penstock?\n")
    assert (code, out.splitlines()[0]) == (0, "You said: **What is a penstock?**.")


async def test_a_refusal_is_said_on_standard_error(quick: Served) -> None:
    code, out, err = await run(quick, "chat", "--prompt", "Hello", "--model", "nope")
    assert (code, out) == (1, "")
    assert err.startswith("error: no model is called 'nope'")


async def test_an_answer_that_fails_shows_what_came_and_leaves_with_one(speaking: Served) -> None:
    code, out, err = await run(speaking, "chat", "--prompt", "fail")
    assert (code, out, err) == (1, "Hel\n", "error: the source raised RuntimeError; the server's log has it\n")


@pytest.mark.parametrize("arguments", [["chat", "--prompt", "x"], ["streams", "list"], ["streams", "tail", "st_x"]])
def test_where_nobody_listens_every_command_says_so(arguments: list[str]) -> None:
    done = subprocess.run(
        [*PENSTOCK, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=clean_environment(PENSTOCK_URL="http://127.0.0.1:1"),
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "no server answers at http://127.0.0.1:1; start one with 'penstock serve'" in done.stderr


async def test_in_a_pipe_the_words_are_not_touched(speaking: Served) -> None:
    assert await run(speaking, "chat", "--prompt", "escape") == (0, "before \x1b[2Jand\x07 after\n", "")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_dropped_connection_is_taken_up_and_said_on_standard_error(
    quick: Served, client: Client, transport: str
) -> None:
    before = await held(client)
    plans = [Plan(cut_after=1000)]
    async with CuttingProxy(quick.port, plans=plans).listening() as proxy:
        code, out, err = await run(quick, "chat", "--url", proxy.url, "--prompt", "Hello", "--transport", transport)
    (stream,) = set(await held(client)) - set(before)
    assert (code, out, err) == (0, await said_by(client, stream) + "\n", "connection lost; taking it up again\n")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_ctrl_c_cancels_the_answer_of_a_script(speaking: Served, transport: str) -> None:
    async with connected(speaking.url) as client:
        before = await held(client)
        process = await create_subprocess_exec(
            *PENSTOCK,
            *("chat", "--prompt", "for ever", "--transport", transport),
            stdout=PIPE,
            env=clean_environment(PENSTOCK_URL=speaking.url),
        )
        assert process.stdout is not None
        await process.stdout.readuntil(b"word3 ")
        process.send_signal(signal.SIGINT)
        await process.stdout.read()
        assert await process.wait() == 130
        assert await begun_since(client, before) == [{"type": "cancelled", "by": "client"}]


# -- streams ---------------------------------------------------------------------------------------------------------


async def test_streams_lists_reads_and_cancels(speaking: Served) -> None:
    async with connected(speaking.url) as client:
        turn = Turn(client, "sse", request={"prompt": "for ever"})
        async for event in turn.events():
            if event["type"] == "delta":
                break
        code, out, _ = await run(speaking, "streams", "list")
        assert code == 0
        (line,) = (line for line in out.splitlines() if line.startswith(turn.stream))
        assert re.fullmatch(r"st_\w+  \d\d:\d\d:\d\d  speaking   \d reading  speaker", line)

        code, out, _ = await run(speaking, "streams", "cancel", turn.stream)
        assert (code, out) == (0, f"{turn.stream}  ended\n")
        code, out, _ = await run(speaking, "streams", "list", "--json")
        ends = {row["id"]: row["end"] for row in map(json.loads, out.splitlines())}
        assert (code, ends[turn.stream]) == (0, {"type": "cancelled", "by": "client"})

        code, out, err = await run(speaking, "streams", "tail", turn.stream)
        assert (code, out, err) == (1, await said_by(client, turn.stream) + "\n", "")
        code, out, err = await run(speaking, "streams", "tail", turn.stream, "--events")
        events = [json.loads(line) for line in out.splitlines()]
        assert (code, events[0]["type"], events[-1]["type"]) == (1, "started", "cancelled")


async def test_a_run_that_finished_tails_with_zero(quick: Served, client: Client) -> None:
    turn = Turn(client, "chunked", request={"prompt": "Hello"})
    assert [event["type"] async for event in turn.events()][-1] == "finished"
    stream = turn.stream
    code, out, err = await run(quick, "streams", "tail", stream)
    assert (code, out, err) == (0, await said_by(client, stream) + "\n", "")


async def test_a_run_that_was_saved_is_played_again_without_a_server(
    quick: Served, client: Client, tmp_path: Path
) -> None:
    turn = Turn(client, "chunked", request={"prompt": "Hello"})
    assert [event["type"] async for event in turn.events()][-1] == "finished"
    stream, file = turn.stream, tmp_path / "run.jsonl"
    code, out, _ = await run(quick, "streams", "save", stream, str(file))
    assert (code, out) == (0, f"{file}  play it with: penstock replay {file}\n")
    code, out, err = await run(quick, "replay", str(file), "--speed", "0")
    assert (code, out, err) == (0, await said_by(client, stream) + "\n", "")
    code, out, _ = await run(quick, "replay", str(file), "--speed", "0", "--events")
    played = [json.loads(line) for line in out.splitlines()]
    assert (code, played[0]["run"], played[-1]["type"]) == (0, stream, "finished")


async def test_a_run_that_was_cancelled_replays_with_one_and_what_is_no_cassette_is_named(
    speaking: Served, tmp_path: Path
) -> None:
    async with connected(speaking.url) as client:
        turn = Turn(client, "sse", request={"prompt": "for ever"})
        async for event in turn.events():
            if event["type"] == "delta":
                break
        file = tmp_path / "run.jsonl"
        code, _, err = await run(speaking, "streams", "save", turn.stream, str(file))
        assert (code, err) == (1, "Error: the stream is still running; it can be recorded when it has ended\n")
        await client.cancel(turn.stream)
        assert (await run(speaking, "streams", "save", turn.stream, str(file)))[0] == 0
    assert (await run(speaking, "replay", str(file), "--speed", "0"))[0] == 1
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:3]))
    code, _, err = await run(speaking, "replay", str(file), "--speed", "0")
    assert (code, err) == (1, f"Error: {file}: the recording breaks off; record a run that has ended\n")
    file.write_text("{}")
    code, _, err = await run(speaking, "replay", str(file))
    assert (code, err.startswith(f"Error: {file}: line 1: this is no cassette")) == (1, True)


@pytest.mark.parametrize("command", ["tail", "cancel", "save"])
async def test_an_unknown_stream_is_refused_in_one_line(quick: Served, command: str) -> None:
    code, out, err = await run(quick, "streams", command, "st_unknown")
    assert (code, out, err.startswith("Error: "), err.count("\n")) == (1, "", True, 1)


# -- on a terminal ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def chatting(served: Served, *flags: str, **environ: str) -> AsyncIterator[Terminal]:
    """A conversation, at its first prompt."""
    command = [*PENSTOCK, "chat", "--url", served.url, *flags]
    async with terminal(command, clean_environment(**environ)) as shown:
        await shown.shows("/help says what can be typed\n> ")
        yield shown


async def ask(shown: Terminal, line: str) -> int:
    """Type a line; returns where what follows it begins."""
    at = len(shown.text)
    shown.press(line + "\r")
    return await shown.shows(line + "\n", after=at)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_conversation_remembers_what_was_said(speaking: Served, transport: str) -> None:
    async with chatting(speaking, "--transport", transport) as shown:
        for wanted in ("I have 1 messages.", "I have 3 messages."):
            at = await ask(shown, "count")
            await shown.shows("\n> ", after=await shown.shows(wanted, after=at))
        at = await ask(shown, "/new")
        await shown.shows("\n> ", after=await shown.shows("forgotten", after=at))
        at = await ask(shown, "count")
        await shown.shows("\n> ", after=await shown.shows("I have 1 messages.", after=at))
        shown.press(CTRL_D)
        assert await shown.ended() == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_ctrl_c_cancels_the_turn_and_not_the_program(speaking: Served, transport: str) -> None:
    async with connected(speaking.url) as client, chatting(speaking, "--transport", transport) as shown:
        before = await held(client)
        at = await shown.shows("word3 ", after=await ask(shown, "for ever"))
        shown.press(CTRL_C)
        await shown.shows("\n> ", after=await shown.shows("cancelled", after=at))
        assert await begun_since(client, before) == [{"type": "cancelled", "by": "client"}]
        at = await ask(shown, "count")
        await shown.shows("\n> ", after=await shown.shows("messages.", after=at))
        shown.press(CTRL_D)
        assert await shown.ended() == 0


async def test_ctrl_c_at_the_prompt_leaves_when_it_is_pressed_twice(speaking: Served) -> None:
    async with chatting(speaking) as shown:
        await shown.waits()
        shown.press(CTRL_C)
        at = await shown.shows("Ctrl-C again, or Ctrl-D, leaves\n> ")
        at = await shown.shows("\n> ", after=await shown.shows("messages.", after=await ask(shown, "count")))
        await shown.waits()
        shown.press(CTRL_C)
        await shown.shows("Ctrl-C again, or Ctrl-D, leaves\n> ", after=at)
        await shown.waits()
        shown.press(CTRL_C)
        assert await shown.ended() == 0


async def test_a_spinner_turns_until_the_first_token(speaking: Served) -> None:
    go = speaking.log.parent / "go"
    async with chatting(speaking) as shown:
        at = await shown.shows("waiting for the first token", after=await ask(shown, "wait"))
        go.touch()
        at = await shown.shows("At last.", after=at)
        await shown.shows("\n> ", after=at)
        assert "waiting for the first token" not in shown.text[at:]
        shown.press(CTRL_D)
        assert await shown.ended() == 0
    go.unlink()


async def test_ctrl_c_while_it_waits_cancels_too(speaking: Served) -> None:
    async with chatting(speaking) as shown:
        at = await shown.shows("waiting for the first token", after=await ask(shown, "wait"))
        shown.press(CTRL_C)
        await shown.shows("\n> ", after=await shown.shows("cancelled", after=at))
        shown.press(CTRL_D)
        assert await shown.ended() == 0


async def test_markdown_is_shown_as_it_is_meant(speaking: Served) -> None:
    async with chatting(speaking) as shown:
        at = await shown.shows("last", after=await ask(shown, "markdown"))
        await shown.shows("\n> ", after=at)
        shown.press(CTRL_D)
        await shown.ended()
    assert ("\x1b[1mbold\x1b[0m words." in shown.raw, "**bold**" in shown.text, "```" in shown.text) == (
        True,
        False,
        False,
    )
    assert ("Headline" in shown.text, "y = 2" in shown.text, "• last" in shown.text) == (True, True, True)


async def test_a_model_gives_a_terminal_no_orders(speaking: Served) -> None:
    async with chatting(speaking) as shown:
        await shown.shows("\n> ", after=await shown.shows("after", after=await ask(shown, "escape")))
        shown.press(CTRL_D)
        await shown.ended()
    assert ("\x1b[2Jand" in shown.raw, "\x07" in shown.raw, "before [2Jand after" in shown.text) == (False, False, True)


async def test_slash_commands_choose_model_and_transport_and_leave(quick: Served) -> None:
    async with chatting(quick) as shown:
        at = await ask(shown, "/help")
        at = await shown.shows("\n> ", after=await shown.shows("/transport sse|ws|chunked", after=at))
        at = await shown.shows("over ws", after=await ask(shown, "/transport ws"))
        at = await shown.shows("/transport sse|ws|chunked", after=await ask(shown, "/transport pigeon"))
        await shown.shows("asking nope", after=await ask(shown, "/model nope"))
        at = await shown.shows("error: no model is called 'nope'", after=await ask(shown, "Hello"))
        await shown.shows("asking the model the server chooses", after=await ask(shown, "/model"))
        at = await shown.shows("You said: Hello.", after=await ask(shown, "Hello"))
        at = await shown.shows(" in, ", after=at)
        await shown.shows("\n> ", after=at)
        await ask(shown, "/quit")
        assert await shown.ended() == 0


# -- what a screen decides -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "finished"),
    [
        ("one line", ""),
        ("a paragraph\n\nanother", "a paragraph\n\n"),
        ("a\n\nb\n\n", "a\n\nb\n\n"),
        ("```\ncode\n\nmore", ""),
        ("```\ncode\n\nmore\n```\n\nafter", "```\ncode\n\nmore\n```\n\n"),
        ("~~~\n```\n\n~~~\n\nafter", "~~~\n```\n\n~~~\n\n"),
        ("", ""),
    ],
)
def test_a_block_is_finished_at_a_blank_line_outside_code(text: str, finished: str) -> None:
    assert finished_blocks(text) == (finished, text[len(finished) :])


def test_a_block_taller_than_the_terminal_shows_its_end_and_code_stays_code() -> None:
    code = "\n".join(["```python", *(f"line {number}" for number in range(100))])
    assert last_rows(code, 3, 80) == "```python\nline 97\nline 98\nline 99"
    assert last_rows("a\nb", 3, 80) == "a\nb"
    assert last_rows("first\n" + "x" * 20 + "\nlast", 3, 10) == "x" * 20 + "\nlast"
    assert last_rows("y" + "x" * 100, 3, 10) == "x" * 20


def test_only_line_ends_and_tabs_pass_to_a_terminal() -> None:
    every = "".join(map(chr, range(0x100)))
    assert every.translate(UNPRINTABLE) == "\t\n" + "".join(map(chr, [*range(32, 127), *range(160, 256)]))


def test_only_text_of_the_first_choice_is_the_answer() -> None:
    parts = Parts()
    for part, (kind, choice) in enumerate([("text", 0), ("text", 1), ("reasoning", 0)]):
        parts.opened({"type": "opened", "part": part, "kind": kind, "choice": choice})
    assert [parts.is_answer(part) for part in range(4)] == [True, False, False, False]


# -- models ----------------------------------------------------------------------------------------------------------


async def test_models_says_what_there_is_and_how_fast_it_has_been(quick: Served, client: Client) -> None:
    await run(quick, "chat", "--prompt", "Hello")
    code, out, err = await run(quick, "models")
    head, row = out.splitlines()
    assert (code, err, head.split()[:2]) == (0, "", ["MODEL", "PROVIDER"])
    assert re.fullmatch(r"demo +penstock +demo +reasoning -tools .*  \d+\.\d\d s +\d+\.\d +\d+", row)
    code, out, _ = await run(quick, "models", "--json")
    (told,) = [json.loads(line) for line in out.splitlines()]
    assert (code, told["id"], told["features"]["tools"]) == (0, "demo", False)
