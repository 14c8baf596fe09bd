"""Everything at once, in memory: runs, readers of every dialect and transport, cuts, resumes, slowness, cancels, failures, trimming.

In the end the text each client put together is the text of the run, up to where it read: nothing lost, repeated or changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from typing import Any
from unittest.mock import patch

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from penstock.core.cursor import Entry
from penstock.core.errors import Broken
from penstock.core.events import (
    TERMINAL,
    Chunk,
    Closed,
    Delta,
    Event,
    Finished,
    Kind,
    Note,
    Opened,
    ToolReturned,
    Usage,
)
from penstock.core.lifecycle import Phase
from penstock.core.request import Principal
from penstock.flow import log as log_module
from penstock.flow.handle import RunHandle
from penstock.flow.log import Log
from penstock.flow.policy import Bounds, OnDisconnect, Policy, SlowReader, TimeLimits
from penstock.flow.runs import Runs
from penstock.flow.watchdog import Watchdog
from penstock.stores.memory import MemoryStore
from penstock.testing.laws.dialects import tell
from penstock.testing.laws.order import check_order
from penstock.testing.readings import Reading
from penstock.testing.strategies import logprobs, texts
from tests.flow.scripted import ASKED, STARTED, Clock, Played, Seen, settle
from tests.laws.clients import Client
from tests.laws.pairs import BARE, PAIRS, Pair

LONG = TimeLimits(first_token=200, gap=200, total=10_000, stall=20, retention=100_000)
KINDS: list[Kind] = ["text", "text", "text", "reasoning", "refusal", "tool_call", "binary"]
ALL = [*PAIRS, BARE]
RARELY = st.integers(0, 7).map(lambda chance: chance == 7)
MOST_RUNS, MOST_CLIENTS = 2, 5


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Bounds so small that merging, waiting, dropping and trimming all happen."""
    slow_reader: SlowReader = draw(st.sampled_from(["pause", "pause", "coalesce", "disconnect"]))
    on_disconnect = draw(st.sampled_from([OnDisconnect("finish"), OnDisconnect("grace", 30), OnDisconnect("cancel")]))
    high = draw(st.sampled_from([150, 400, 2000]))
    bounds = Bounds(
        high=high,
        low=high // 2,
        merge_above=draw(st.sampled_from([0, 60, 300])),
        detached_bytes=draw(st.sampled_from([300, 2000])),
        max_run_bytes=draw(st.sampled_from([1500, 1500, 4000, 100_000])),
    )
    return Policy(slow_reader=slow_reader, on_disconnect=on_disconnect, bounds=bounds, limits=LONG)


class Scene:
    """One run, what its source was given to say, and everything that was ever in its log."""

    def __init__(self, source: Played):
        self.source = source
        self.script: list[Event] = []
        self.open: dict[int, Kind] = {}
        self.parts = 0
        self.truth: list[Entry] = []
        """What the log was given, before it could trim anything."""
        self.handle: RunHandle
        self.over = False

    def say(self, *events: Event) -> None:
        self.script += events
        self.source.say(*events)


def inside(act: Callable[..., None]) -> Callable[..., None]:
    """A rule that is played on the machine's loop, until it is quiet there."""

    @wraps(act)
    def played(machine: Streams, *given: Any, **named: Any) -> None:
        async def play() -> None:
            act(machine, *given, **named)
            await settle()

        machine.loop.run_until_complete(play())

    return played


class Streams(RuleBasedStateMachine):
    """What may happen to a server's runs and readers, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.runs = Runs(MemoryStore(clock=self.clock), observer=Seen(), clock=self.clock)
        self.dog = Watchdog(self.runs)
        self.scenes: list[Scene] = []
        self.clients: list[Client] = []
        self.last_cuts: list[int] = []
        """Where lines are cut after the sources were done."""
        self.truths: dict[Log, list[Entry]] = {}
        append = Log.append

        def remembered(log: Log, event: Event, at: int) -> bool:
            truth = self.truths[log]
            truth.append(Entry(len(truth) + 1, len(truth) + 1, at, event))
            return append(log, event, at)

        self.patches = ExitStack()
        self.patches.enter_context(patch.object(log_module, "FRESH", 4))
        self.patches.enter_context(patch.object(Log, "append", remembered))

    # -- runs -------------------------------------------------------------------------------------------------------------

    @initialize(
        policy=policies(),
        pairs=st.lists(st.sampled_from(ALL), min_size=2, max_size=3),
        last_cuts=st.lists(st.integers(0, 3000), max_size=3),
    )
    def begin_with_one(self, policy: Policy, pairs: list[Pair], last_cuts: list[int]) -> None:
        self.last_cuts = last_cuts
        self.begin(policy)
        self.open_part(0, "text", 0)
        for pair in pairs:
            self.attach(0, pair, False, True)

    @rule(policy=policies())
    def begin(self, policy: Policy) -> None:
        if len(self.scenes) < MOST_RUNS:
            self.loop.run_until_complete(self._begin(policy))

    async def _begin(self, policy: Policy) -> None:
        scene = Scene(Played())
        scene.handle = await self.runs.start(ASKED, scene.source, policy, principal=Principal())
        self.truths[scene.handle.log] = scene.truth
        scene.say(STARTED)
        self.scenes.append(scene)
        await settle()

    def scene(self, number: int) -> Scene:
        return self.scenes[number % len(self.scenes)]

    @rule(number=st.integers(0, 1), kind=st.sampled_from(KINDS), choice=st.integers(0, 1))
    @inside
    def open_part(self, number: int, kind: Kind, choice: int) -> None:
        scene = self.scene(number)
        if scene.over:
            return
        name, call = ("look_up", f"call_{scene.parts}") if kind == "tool_call" else (None, None)
        media = "image/png" if kind == "binary" else None
        scene.say(Opened(scene.parts, kind, choice, None, name, call, media))
        scene.open[scene.parts] = kind
        scene.parts += 1

    @rule(
        number=st.integers(0, 1),
        which=st.integers(0, 5),
        words=st.lists(texts(), min_size=1, max_size=8),
        told=logprobs(),
    )
    @inside
    def speak(self, number: int, which: int, words: list[str], told: Any) -> None:
        self._speak(self.scene(number), which, words, told)

    @rule(number=st.integers(0, 1), which=st.integers(0, 5), length=st.integers(1, 40))
    @inside
    def speak_at_length(self, number: int, which: int, length: int) -> None:
        self._speak(self.scene(number), which, [f"{n}·" for n in range(length)], None)

    def _speak(self, scene: Scene, which: int, words: list[str], told: Any) -> None:
        if scene.over or not scene.open:
            return
        part = sorted(scene.open)[which % len(scene.open)]
        for word in words:
            if scene.open[part] == "binary":
                scene.say(Chunk(part, word.encode()))
            else:
                scene.say(Delta(part, word, told if scene.open[part] == "text" and len(words) == 1 else None))

    @rule(number=st.integers(0, 1), which=st.integers(0, 5), what=st.sampled_from(["close", "note", "usage", "tool"]))
    @inside
    def say_else(self, number: int, which: int, what: str) -> None:
        scene = self.scene(number)
        if scene.over:
            return
        if what == "close" and scene.open:
            part = sorted(scene.open)[which % len(scene.open)]
            del scene.open[part]
            scene.say(Closed(part, {"finish_reason": "length"} if which == 0 else None))
        elif what == "note":
            scene.say(Note("progress", which))
        elif what == "usage":
            scene.say(Usage(which, which, "reported"))
        elif what == "tool":
            scene.say(ToolReturned("call_0", {"found": which}))

    @rule(
        number=st.integers(0, 1),
        how=st.sampled_from(["finish", "finish", "break", "stop", "cancel", "illegal"]),
        now=RARELY,
    )
    @inside
    def end(self, number: int, how: str, now: bool) -> None:
        if now:
            self._end(self.scene(number), how)

    def _end(self, scene: Scene, how: str) -> None:
        if scene.over:
            return
        scene.over = True
        if how == "finish":
            scene.say(Finished())
        elif how == "break":
            scene.source.fail(Broken("provider_error"))
        elif how == "stop":
            scene.source.stop()
        elif how == "illegal":
            scene.source.say(Delta(99, "x"))
        else:
            self.runs.cancel(scene.handle)

    @rule(number=st.integers(0, 1), body=texts())
    @inside
    def put_in(self, number: int, body: str) -> None:
        scene = self.scene(number)
        if scene.handle.state is not Phase.ENDED and scene.handle.log.kept <= scene.handle.policy.bounds.max_run_bytes:
            scene.handle.inbox.open()
            scene.handle.inbox.waiting()
            self.runs.input(scene.handle, body)

    @rule(seconds=st.sampled_from([1.0, 1.0, 16.0, 21.0]))
    @inside
    def let_time_pass(self, seconds: float) -> None:
        self.dog.tick(self.clock.turn(seconds))

    # -- readers ----------------------------------------------------------------------------------------------------------

    @rule(number=st.integers(0, 1), pair=st.sampled_from(ALL), reasoning=st.booleans(), sentinel=st.booleans())
    @inside
    def attach(self, number: int, pair: Pair, reasoning: bool, sentinel: bool) -> None:
        if len(self.clients) >= MOST_CLIENTS:
            return
        options = {"reasoning": reasoning, "sentinel": sentinel and pair.transport == "sse"}
        client = Client(self.runs, self.scene(number).handle, pair, options)
        client.connect()
        self.clients.append(client)

    @rule(number=st.integers(0, 9), budget=st.sampled_from([1, 50, 300, 65536]), count=st.integers(0, 400))
    @inside
    def read(self, number: int, budget: int, count: int) -> None:
        client = self.clients[number % len(self.clients)]
        client.serve(budget)
        client.receive(count)

    @rule()
    @inside
    def everybody_reads(self) -> None:
        for client in self.clients:
            client.serve(65536)
            client.receive(65536)

    @rule(
        number=st.integers(0, 9),
        budget=st.sampled_from([1, 300, 65536]),
        count=st.integers(0, 3000),
        again=st.booleans(),
    )
    @inside
    def cut(self, number: int, budget: int, count: int, again: bool) -> None:
        """The line of somebody is cut while something is in flight; they may be back at once."""
        client = self.clients[number % len(self.clients)]
        client.serve(budget)
        client.cut(count)
        if again and client.state == "off":
            client.connect()

    @rule(number=st.integers(0, 9))
    @inside
    def come_back(self, number: int) -> None:
        away = [client for client in self.clients if client.state == "off"]
        for client in away[number % max(1, len(away)) :][:1]:
            client.connect()

    @rule(number=st.integers(0, 9))
    @inside
    def come_from_the_future(self, number: int) -> None:
        assert self.clients[number % len(self.clients)].refused() == "cursor_ahead"

    # -- the end ----------------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            self.loop.run_until_complete(self._finale())
        finally:
            self.patches.close()
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(settle())
            self.loop.close()

    async def _finale(self) -> None:
        await self._read_out()
        for scene in self.scenes:
            _judge_run(scene)
        for client in self.clients:
            _judge_client(client, next(scene for scene in self.scenes if scene.handle is client.handle))
        await self.runs.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def _read_out(self) -> None:
        """Whoever was cut comes back and reads on; then every run comes to its end, and everybody has everything."""
        for scene in self.scenes:
            self._end(scene, "finish")
        await settle()
        for count in self.last_cuts:
            for client in self.clients:
                if client.state == "off":
                    client.connect()
                client.serve(1 << 30)
                client.cut(count)
            await settle()
        for _ in range(3000):
            for client in self.clients:
                client.finish()
            await settle()
            ended = all(scene.handle.state is Phase.ENDED for scene in self.scenes)
            if ended and all(client.state in ("done", "gone") for client in self.clients):
                return
            for scene in self.scenes:
                # A run may wait for readers when all of them are gone, or there was none.
                if scene.handle.state is not Phase.ENDED and not scene.handle.log.readers:
                    self.clients.append(Client(self.runs, scene.handle, PAIRS[0], {}))
        raise AssertionError(
            f"somebody waits for ever: {self.clients}, {[scene.handle.state for scene in self.scenes]}"
        )


def _judge_run(scene: Scene) -> None:
    """The log was legal, said what the source said, and ended once."""
    events = [entry.event for entry in scene.truth]
    assert isinstance(events[-1], TERMINAL)
    check_order(events)
    words = [event for event in events if isinstance(event, Delta | Chunk)]
    assert words == [event for event in scene.script if isinstance(event, Delta | Chunk)][: len(words)]
    assert scene.source.closed == scene.source.asked == 1


def _judge_client(client: Client, scene: Scene) -> None:
    """What it put together is what was said."""
    complete = tell(client.pair.dialect, client.view, client._encoder(), scene.truth)
    if client.bare:
        whole = b"".join(frame.data for frame in complete.frames)
        assert client.text == (whole if client.state == "done" else whole[: len(client.text)])
        return
    found, wanted = _settled(client.pair.read(client.received)), _settled(client.pair.read(complete.received()))
    if client.gaps:
        # The beginning of what was trimmed is told no more; all the rest is.
        for name, part in found.parts.items():
            assert wanted.parts[name].key == part.key
            assert wanted.parts[name].text.endswith(part.text)
            assert wanted.parts[name].data.endswith(part.data)
    elif client.state == "done":
        assert found == wanted
    else:
        for name, part in found.parts.items():
            assert wanted.parts[name].text.startswith(part.text)
            assert wanted.parts[name].data.startswith(part.data)
    if client.state == "done":
        assert found.ending == wanted.ending
        assert client.endings() == 1


def _settled(reading: Reading) -> Reading:
    """An answer that ended in `[DONE]` is one that has finished."""
    if reading.ending == "[DONE]":
        reading.ending = "finished"
    return reading


TestStreams = Streams.TestCase
