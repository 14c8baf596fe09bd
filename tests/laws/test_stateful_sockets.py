"""Everything at once, over real sockets: runs, readers of every dialect and transport, cuts at any byte, stalls, resumes, cancels.

In the end every client has the text of its run, and knows how it ended: nothing lost, repeated or changed. What the server
writes on the way is held against `protocols/` by the server fixture.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from itertools import product
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from websockets.exceptions import WebSocketException

from penstock.config.units import Seconds
from penstock.core.cursor import parse_cursor
from penstock.core.events import Closed, Delta, Finished, Kind, Opened, Started
from penstock.testing.readings.openai_responses import ENDINGS
from penstock.testing.wire import Received, SseParser, parse_ndjson, parse_websocket
from tests.clients.raw_client import LineEndedError, raw_client
from tests.fakes.cutting_proxy import PASS, CuttingProxy, Plan
from tests.server.reading import CURSOR_KEYS, TEXT, added_up, detached, websocket
from tests.serving import Telling, configured, serving
from tests.waiting import CEILING

WAYS = [*product(["sse", "ndjson", "websocket"], CURSOR_KEYS), ("text", "plain")]
PLANS = st.one_of(
    st.just(PASS),
    st.builds(Plan, cut_after=st.integers(0, 3000), how=st.sampled_from(["rst", "fin"])),
    st.builds(Plan, stall_after=st.integers(1, 3000)),
)


class Speaker:
    """One run: what the machine lets it say."""

    def __init__(self, run: str, telling: Telling) -> None:
        self.run = run
        self.telling = telling
        self.part = -1
        self.over = False
        self.texts: list[str] = []
        telling.say(Started(run, "scripted", telling.run.created))
        self.open("text")

    def open(self, kind: Kind) -> None:
        """Begin a part, after closing the one before."""
        if self.part >= 0:
            self.telling.say(Closed(self.part))
        self.part += 1
        self.kind = kind
        self.telling.say(Opened(self.part, kind))
        if kind == "text":
            self.texts.append("")

    def speak(self, *texts: str) -> None:
        self.telling.say(*(Delta(self.part, text) for text in texts))
        if self.kind == "text":
            self.texts[-1] += "".join(texts)

    @property
    def text(self) -> str:
        return "\n\n".join(filter(None, self.texts))

    def end(self, how: str) -> None:
        self.over = True
        if how == "fail":
            self.telling.fail("provider_truncated")
        else:
            self.telling.say(Closed(self.part), Finished())


def ends(dialect: str, message: Any) -> bool:
    """Whether nothing of the run comes after this message."""
    match dialect:
        case "native":
            return message["type"] in ("finished", "failed", "cancelled")
        case "anthropic":
            return message["type"] in ("message_stop", "error")
        case "openai-responses":
            return message["type"] in ENDINGS
        case "ai-sdk":
            return message["type"] in ("finish", "abort", "error")
        case "openai-chat" | "openai-completions":
            return "error" in message or message["choices"][0]["finish_reason"] is not None
        case "token-done":
            return bool(message["done"])
        case _:
            return "text" not in message


class Follower:
    """A client that reads one run one way, and comes back with what it has when its line was cut."""

    def __init__(self, speaker: Speaker, transport: str, dialect: str) -> None:
        self.speaker = speaker
        self.transport = transport
        self.dialect = dialect
        self.messages: list[Received] = []
        self.bytes = b""
        self.ending = ""
        self.task: asyncio.Task[None] | None = None

    @property
    def done(self) -> bool:
        return bool(self.ending)

    @property
    def cursor(self) -> str:
        return next((message.cursor for message in reversed(self.messages) if message.cursor), "")

    async def follow(self, url: str) -> None:
        """Read on until the run or the line ends."""
        try:
            if self.transport == "websocket":
                await self._socket(url)
            else:
                await self._response(url)
        except (OSError, LineEndedError, WebSocketException):
            pass  # cut: it comes back

    async def _socket(self, url: str) -> None:
        key, run = CURSOR_KEYS[self.dialect], self.speaker.run
        async with websocket(f"{url.replace('http', 'ws')}/v1/chat/ws", close_timeout=0.1) as socket:
            await socket.send(type="attach", stream=run, dialect=self.dialect, after=self.cursor)
            assert await socket.next() == {"type": "ok", "stream": run}
            while not self.done:
                message = await socket.next()
                if message.get("type") == "detached":
                    assert message["reason"] == "ended"
                    self.ending = "complete"
                    return
                self.messages += parse_websocket([json.dumps(message)], key, run)
                if ends(self.dialect, message):
                    self.ending = "complete"

    async def _response(self, url: str) -> None:
        path = f"/v1/streams/{self.speaker.run}/events?dialect={self.dialect}"
        if self.transport == "text":
            path += f"&after=bytes={len(self.bytes)}"
        elif self.cursor:
            path += f"&after={self.cursor}"
        async with raw_client(url) as raw:
            await raw.request("GET", path, headers={"Accept": TEXT[self.transport]})
            head = await raw.head()
            if head.status == 204:
                self.ending = "complete"
                return
            assert head.status == 200
            parser, rest = SseParser(), b""
            while raw.ended is None:
                piece = await raw.body(65_536)
                match self.transport:
                    case "text":
                        self.bytes += piece
                    case "sse":
                        self.messages += [m for m in parser.feed(piece) if m.value != "[DONE]"]
                    case _:
                        whole, _, rest = (rest + piece).rpartition(b"\n")
                        self.messages += parse_ndjson([whole + b"\n"], CURSOR_KEYS[self.dialect])
            if raw.ended == "complete":
                self.ending = "complete"


class Sockets(RuleBasedStateMachine):
    """What may happen to a server, its runs and its clients, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.speakers: list[Speaker] = []
        self.followers: list[Follower] = []
        self.plans: list[Plan] = []
        self.play(self._begin())

    def play(self, act: Coroutine[Any, Any, None]) -> None:
        """Do it on the machine's loop, then let the sockets have a few turns."""

        async def played() -> None:
            await act
            for _ in range(30):
                await asyncio.sleep(0)

        self.runner.run(played())

    async def _begin(self) -> None:
        self.stack = AsyncExitStack()
        self.served = await self.stack.enter_async_context(serving(configured(heartbeat=Seconds(3600))))
        self.http = await self.stack.enter_async_context(self.served.client())
        proxy = CuttingProxy(self.served.port, plans=self._plan, receive_buffer=4096)
        self.proxy = await self.stack.enter_async_context(proxy.listening())

    def _plan(self, _number: int) -> Plan:
        return self.plans.pop(0) if self.plans else PASS

    # -- what a source does ------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.speakers) < 2)
    @rule()
    def start(self) -> None:
        async def act() -> None:
            run = await detached(self.http)
            self.speakers.append(Speaker(run, await self.served.telling(len(self.speakers))))

        self.play(act())

    def _speaking(self, data: st.DataObject) -> Speaker:
        return data.draw(st.sampled_from([speaker for speaker in self.speakers if not speaker.over]))

    @precondition(lambda self: any(not speaker.over for speaker in self.speakers))
    @rule(
        data=st.data(),
        words=st.lists(st.text(max_size=20), min_size=1, max_size=10),
        times=st.sampled_from([1, 1, 200]),
    )
    def speak(self, data: st.DataObject, words: list[str], times: int) -> None:
        speaker = self._speaking(data)
        self._now(lambda: speaker.speak(*words * times))

    @precondition(lambda self: any(not speaker.over for speaker in self.speakers))
    @rule(data=st.data(), kind=st.sampled_from(["text", "reasoning"]))
    def open(self, data: st.DataObject, kind: Kind) -> None:
        speaker = self._speaking(data)
        self._now(lambda: speaker.open(kind))

    @precondition(lambda self: any(not speaker.over for speaker in self.speakers))
    @rule(data=st.data(), how=st.sampled_from(["finish", "fail"]))
    def end(self, data: st.DataObject, how: str) -> None:
        speaker = self._speaking(data)
        self._now(lambda: speaker.end(how))

    # -- what a client does ------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.speakers and len(self.followers) < 8)
    @rule(data=st.data(), way=st.sampled_from(WAYS), plan=PLANS)
    def attach(self, data: st.DataObject, way: tuple[str, str], plan: Plan) -> None:
        follower = Follower(data.draw(st.sampled_from(self.speakers)), *way)
        self.followers.append(follower)
        self._now(lambda: self._send_off(follower, plan))

    @precondition(lambda self: self._idle())
    @rule(data=st.data(), plan=PLANS)
    def come_back(self, data: st.DataObject, plan: Plan) -> None:
        follower = data.draw(st.sampled_from(self._idle()))
        self._now(lambda: self._send_off(follower, plan))

    @precondition(lambda self: self.speakers)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        speaker = data.draw(st.sampled_from(self.speakers))

        async def act() -> None:
            answer = await self.http.delete(f"/v1/streams/{speaker.run}")
            assert answer.status_code == 200
            speaker.over = True

        self.play(act())

    # -- what the network does ---------------------------------------------------------------------------------------------

    @precondition(lambda self: any(not link.closed.is_set() for link in self.proxy.links))
    @rule(data=st.data(), what=st.sampled_from(["cut", "stall", "resume"]))
    def trouble(self, data: st.DataObject, what: str) -> None:
        link = data.draw(st.sampled_from([link for link in self.proxy.links if not link.closed.is_set()]))

        async def act() -> None:
            match what:
                case "cut":
                    await link.cut()
                case "stall":
                    link.stall()
                case _:
                    link.resume()

        self.play(act())

    # -- in the end --------------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            self.play(self._finish())
        finally:
            self.runner.close()

    async def _finish(self) -> None:
        for speaker in self.speakers:
            if not speaker.over:
                speaker.end("finish")
        self.plans.clear()  # a connection that is only now accepted, or still to be made, is never stalled
        async with asyncio.timeout(CEILING):
            for link in self.proxy.links:
                await link.cut()  # also those that a plan will stall only later
            for follower in self.followers:
                if follower.task is not None:
                    await follower.task
                # A failed text is cut at its end, so it must come back to be told that there is no more.
                while not follower.done:
                    await follower.follow(self.proxy.url)
        for follower in self.followers:
            self._check(follower)
        await self.stack.aclose()

    def _check(self, follower: Follower) -> None:
        snapshot = self.served.run(follower.speaker.run).log.snapshot()
        truth = snapshot.text()
        assert follower.speaker.text.startswith(truth)
        if isinstance(snapshot.end, Finished):
            assert truth == follower.speaker.text
        if follower.transport == "text":
            assert follower.bytes.decode() == truth
            return
        reading = added_up(follower.dialect, follower.messages)
        assert reading.text() == truth
        assert reading.ending is not None
        offsets = [parse_cursor(message.cursor) for message in follower.messages]
        places = [(cursor.whole, cursor.frame) for cursor in offsets]
        assert places == sorted(set(places))

    def _now(self, act: Callable[[], None]) -> None:
        async def play() -> None:
            act()

        self.play(play())

    def _send_off(self, follower: Follower, plan: Plan) -> None:
        self.plans.append(plan)
        follower.task = asyncio.get_running_loop().create_task(follower.follow(self.proxy.url))

    def _idle(self) -> list[Follower]:
        return [each for each in self.followers if not each.done and each.task is not None and each.task.done()]


TestSockets = Sockets.TestCase
TestSockets.settings = settings(
    max_examples=max(5, settings().max_examples // 4),
    stateful_step_count=25,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # each try at a smaller example may wait for the ceiling
)
