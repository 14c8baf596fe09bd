"""OpenAI's WebSocket mode in any order: answers on many lanes of many sockets, each going on from any other, some of them deleted.

In the end every answer was told whole to the socket that asked for it, every source was asked with exactly the conversation
before it, whoever came back by number has the rest, and nothing is kept of what nobody holds.
"""

import asyncio
import json
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from penstock.core.events import Cancelled, Failed, Finished
from penstock.testing.readings import READERS
from penstock.testing.wire import Received
from tests.server.answers import ANSWERS, PATH, events, said
from tests.server.reading import Messages, websocket
from tests.serving import Telling, serving
from tests.waiting import CEILING, until

ENDINGS = ("response.completed", "response.incomplete", "response.failed")


class Line:
    """One socket, read on all the time: what each lane was told, and errors."""

    def __init__(self, socket: Messages) -> None:
        self.socket = socket
        self.told: dict[str, list[Any]] = {}
        self.errors: dict[str, Any] = {}
        self.recent: list[Answer] = []
        self.reading = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        async for message in self.socket.connection:
            value = json.loads(message)
            lane = value.pop("stream_id")
            if value["type"] == "error":
                self.errors[lane] = value["error"]["code"]
            else:
                self.told.setdefault(lane, []).append(value)


class Answer:
    """What is known of one answer: where it is told, what was said before it, and what it says."""

    def __init__(self, line: Line, lane: str, before: list[str], question: str, *, store: bool, telling: Telling):
        self.line = line
        self.lane = lane
        self.asked = [*before, question]
        self.store = store
        self.telling = telling
        self.text = ""
        self.over = self.deleted = False

    @property
    def id(self) -> str:
        return "resp_" + self.telling.run.id.removeprefix("st_")

    @property
    def messages(self) -> list[Any]:
        return self.line.told[self.lane]


class Conversing(RuleBasedStateMachine):
    """What may happen between sockets, answers and those who fetch them again."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.lines: list[Line] = []
        self.answers: list[Answer] = []
        self.count = 0
        self.play(self._begin())

    def play(self, act: Coroutine[Any, Any, None]) -> None:
        async def played() -> None:
            async with asyncio.timeout(CEILING):
                await act

        self.runner.run(played())

    async def _begin(self) -> None:
        self.stack = AsyncExitStack()
        self.served = await self.stack.enter_async_context(serving(ANSWERS))
        self.http = await self.stack.enter_async_context(self.served.client())
        await self._connect()

    async def _connect(self) -> None:
        url = f"ws://127.0.0.1:{self.served.port}{PATH}"
        self.lines.append(Line(await self.stack.enter_async_context(websocket(url))))

    @precondition(lambda self: len(self.lines) < 3)
    @rule()
    def connect(self) -> None:
        self.play(self._connect())

    @precondition(lambda self: self.lines and len(self.answers) < 12)
    @rule(data=st.data(), store=st.booleans())
    def ask(self, data: st.DataObject, store: bool) -> None:
        line = data.draw(st.sampled_from(self.lines))
        previous = data.draw(st.sampled_from([None, *self.answers]))
        self.count += 1
        lane, question = f"lane {self.count}", f"question {self.count}"
        more = {} if previous is None else {"previous_response_id": previous.id}

        async def act() -> None:
            number = len(self.served.source.tellings)
            await line.socket.send(
                type="response.create", model="scripted", input=question, store=store, stream_id=lane, **more
            )
            if previous is not None and (code := self._refusal(line, previous)):
                await until("it is refused", lambda: line.errors.get(lane) == code)
                return
            telling = await self.served.telling(number)
            before = [] if previous is None else [*previous.asked, *filter(None, [previous.text])]
            answer = Answer(line, lane, before, question, store=store, telling=telling)
            assert [message["content"] for message in said(self.served, number)] == answer.asked
            self.answers.append(answer)
            line.recent = [*line.recent, answer][-16:]
            telling.begin()
            await until("it is told", lambda: lane in line.told)

        self.play(act())

    def _refusal(self, line: Line, previous: Answer) -> str:
        """With which code one may not go on from an answer; empty where one may."""
        here, held = previous in line.recent, not previous.deleted
        if not (here or (held and previous.store)):
            return "previous_response_not_found"
        return "" if previous.over else "not_ended"

    @precondition(lambda self: any(not answer.over for answer in self.answers))
    @rule(data=st.data(), words=st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=5))
    def speak(self, data: st.DataObject, words: list[str]) -> None:
        answer = data.draw(st.sampled_from([answer for answer in self.answers if not answer.over]))
        answer.text += "".join(words)

        async def act() -> None:
            log = self.served.run(answer.telling.run.id).log
            through = log.last + len(words)
            answer.telling.speak(*words)
            await until("it was said", lambda: log.last >= through)

        self.play(act())

    @precondition(lambda self: any(not answer.over for answer in self.answers))
    @rule(data=st.data(), how=st.sampled_from(["finish", "fail", "cancel", "cancel over HTTP"]))
    def end(self, data: st.DataObject, how: str) -> None:
        answer = data.draw(st.sampled_from([answer for answer in self.answers if not answer.over]))
        answer.over = True

        async def act() -> None:
            match how:
                case "finish":
                    answer.telling.finish()
                case "fail":
                    answer.telling.fail()
                case "cancel":
                    await answer.line.socket.send(type="response.cancel", response_id=answer.id)
                case _:
                    assert (await self.http.post(f"{PATH}/{answer.id}/cancel")).status_code == 200
            await until("the end is told", lambda: answer.messages[-1]["type"] in ENDINGS)

        self.play(act())

    @precondition(lambda self: any(answer.over and not answer.deleted for answer in self.answers))
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        gone = data.draw(st.sampled_from([a for a in self.answers if a.over and not a.deleted]))
        gone.deleted = True

        async def act() -> None:
            await until("nobody reads it", lambda: not self.served.run(gone.telling.run.id).log.readers)
            assert (await self.http.delete(f"{PATH}/{gone.id}")).json()["deleted"] is True

        self.play(act())

    @precondition(lambda self: any(answer.over and not answer.deleted for answer in self.answers))
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        answer = data.draw(st.sampled_from([a for a in self.answers if a.over and not a.deleted]))
        last = data.draw(st.integers(0, len(answer.messages) - 1))

        async def act() -> None:
            path = f"{PATH}/{answer.id}?stream=true&starting_after={answer.messages[last]['sequence_number']}"
            rest = (await self.http.get(path)).content
            told = [event for _, event in events(rest)]
            here = answer.messages[last + 1 :]
            assert told[: len(here)] == here
            assert told == here or answer.line not in self.lines  # who closed did not wait for the rest

        self.play(act())

    @precondition(lambda self: self.lines)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        line = data.draw(st.sampled_from(self.lines))
        self.lines.remove(line)

        async def act() -> None:
            await line.socket.connection.close()
            await line.reading
            for answer in self.answers:
                if answer.line is line and not answer.over:
                    await answer.telling.closed.wait()
                    answer.over = True
                    handle = self.served.run(answer.telling.run.id)
                    await until("it has ended", lambda: handle.pump.terminal == Cancelled("disconnect"))  # noqa: B023
                    answer.text = handle.log.snapshot().text()

        self.play(act())

    def teardown(self) -> None:
        try:
            self.play(self._finish())
        finally:
            self.runner.close()

    async def _finish(self) -> None:
        for answer in self.answers:
            handle = self.served.runs.by_id.get(answer.telling.run.id)
            if handle is not None and isinstance(handle.pump.terminal, Finished | Failed):
                self._check(answer)
        for line in self.lines:
            await line.socket.connection.close()
            await line.reading
        runs = self.served.runs
        await until("every run has ended", lambda: len(self.served.seen.ended) == len(self.answers))
        await until("nobody reads", lambda: not any(handle.log.readers for handle in runs.by_id.values()))
        await until("every source has closed", lambda: all(answer.telling.closed.is_set() for answer in self.answers))

        def nothing_kept() -> bool:
            self.served.tick(3600)
            return not runs.by_id and runs.conversations.size == 0 and runs.kept == 0

        await until("nothing is kept", nothing_kept)
        await self.stack.aclose()

    def _check(self, answer: Answer) -> None:
        messages = answer.messages
        assert [message["sequence_number"] for message in messages] == list(range(len(messages)))
        reading = READERS["openai-responses"]([Received(value=value, event=value["type"]) for value in messages])
        assert reading.text() == answer.text


TestConversing = Conversing.TestCase
TestConversing.settings = settings(
    max_examples=max(5, settings().max_examples // 4),
    stateful_step_count=25,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # each try at a smaller example may wait for the ceiling
)
