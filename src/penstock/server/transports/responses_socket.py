"""OpenAI Responses on a WebSocket: `response.create` begins an answer, whose events come back as on SSE, one message each.

Messages are those of openai-python (`types/responses/responses_client_event.py` and `responses_server_event.py`), and
`response.cancel`. Requests with the same `stream_id` are answered one after the other, in their order; those of different
ones side by side. `previous_response_id` may name an answer of this connection even where `store` was false.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import msgspec
from starlette.types import Receive, Scope, Send

from penstock.core.body import take
from penstock.core.cursor import run_of
from penstock.core.errors import TABLE, Refused, fault
from penstock.core.events import Fault, Json
from penstock.core.lifecycle import Phase
from penstock.encoders.websocket import PlainWebSocketEncoder
from penstock.flow.conversations import Recent
from penstock.flow.handle import RunHandle
from penstock.server.door import admit, begin, parsed
from penstock.server.joining import pipeline
from penstock.server.media import reading
from penstock.server.problems import when
from penstock.server.service import Route, Service
from penstock.server.transports.socket import Socket, encode, known, nothing_else
from penstock.server.transports.turns import Lane

NAME_LONGEST = 128
"""Characters of a `stream_id`."""
MOST_WAITING = 16
"""Requests that may wait for their lane; together they have no more bytes than one body may."""

STEERING: dict[str, str] = {
    "stream_not_found": "response_not_found",
    "input_not_accepted": "steering_not_supported",
    "input_full": "too_many_pending_steers",
}
"""Code of the error table → code of a `response.steer.failed`; every other one is `invalid_input`."""


class ResponsesSocket(Socket):
    """One connection in OpenAI's WebSocket mode. A key comes with the handshake, as OpenAI's clients send it."""

    late = False

    def __init__(self, service: Service, route: Route, scope: Scope, receive: Receive, send: Send):
        super().__init__(service, route, scope, receive, send)
        self._dialect = route.dialect
        self._prefix = route.dialect.traits.answer_prefix
        self._recent = Recent(service.runs.conversations, longest=service.max_body)
        self._names: dict[str, str | None] = {}
        """Runs that are told here → the lane of each."""
        self._taken: set[str | None] = set()
        """Lanes on which an answer is begun or told."""
        self._waiting: deque[tuple[str | None, bytes]] = deque()
        self._beginning: set[asyncio.Task[None]] = set()
        self._steers = 0

    def _serves(self, route: Route) -> bool:
        return bool(route.dialect.traits.answer_prefix) and "POST" in route.methods

    async def _serve(self) -> None:
        try:
            await super()._serve()
        finally:
            self._waiting.clear()
            if self._beginning:
                await asyncio.wait(self._beginning)  # what they begin leaves with the socket
            self._recent.close()

    # -- what is told beside the answers -----------------------------------------------------------------------------------------

    @property
    def _idle(self) -> bool:
        return super()._idle and not self._taken and not self._waiting

    async def _farewell(self) -> None:
        """There are no words for it while answers are given: an error would be taken for the end of one."""

    async def _last_words(self) -> None:
        seconds = self._service.retry_ms / 1000
        await self._error(
            fault("interrupted", "the server goes away; open another connection", retry_after=seconds), None
        )

    async def _gone(self, lane: Lane[str | bytes], reason: str) -> None:
        if reason in TABLE:
            await self._error(fault(reason), self._names.get(lane.handle.id))

    async def _error(self, problem: Fault, name: str | None) -> None:
        """The error as the dialect has it in a response, with what HTTP says in its status and its headers."""
        told: dict[str, Json] = msgspec.json.decode(self._dialect.refuse(problem, ""))
        error = told.get("error")
        if isinstance(error, dict) and (headers := when(problem)):
            error["headers"] = {name.decode(): value.decode() for name, value in headers}
        await self._say({"type": "error", "status": TABLE[problem.code].status, "error": error, "stream_id": name})

    # -- messages in -------------------------------------------------------------------------------------------------------------

    def _name(self, message: dict[str, Json]) -> str | None:
        lane = take(message, "stream_id", str, None)
        if lane is not None and not 0 < len(lane) <= NAME_LONGEST:
            raise Refused("invalid_request", f"'stream_id' has 1 to {NAME_LONGEST} characters", param="stream_id")
        return lane

    async def _do(self, kind: str, message: dict[str, Json], name: str | None) -> None:
        act = known(kind, MESSAGES, "message")
        self._renew()
        await act(self, message, name)

    async def _create(self, message: dict[str, Json], lane: str | None) -> None:
        if message.pop("background", None):
            raise Refused(
                "invalid_request",
                "'background' is not for WebSocket: an answer is told as it comes. POST asks for one that goes on alone",
                param="background",
            )
        body = encode({**message, "stream": True})
        if lane not in self._taken:
            self._taken.add(lane)
            await self._begin(body, lane)
            return
        size = len(body) + sum(len(waiting) for _, waiting in self._waiting)
        if len(self._waiting) >= MOST_WAITING or size > self._service.max_body:
            raise Refused(
                "too_many_runs",
                f"{len(self._waiting)} requests wait on this connection for the answer before theirs; "
                "give each its own 'stream_id', or wait",
                retry_after=1,
                param="stream_id",
            )
        self._waiting.append((lane, body))

    async def _begin(self, body: bytes, lane: str | None) -> None:
        """Begin an answer on a lane that was taken for it. Raises `Refused`, and has then freed the lane."""
        service = self._service
        try:
            route = self._route
            admit(service, route, self._grant, reads=True)
            request = await parsed(reading(route.dialect.parse, service.max_media), body)
            handle = await begin(
                service, route, request, self._grant, transport="websocket", recent=self._recent, **self._wishes
            )
            place = handle.place(None)
            view = msgspec.structs.replace(handle.view, sentinel=False)
            stream = pipeline(route.dialect, view, PlainWebSocketEncoder(lane), handle, place)
            told = self._lane(handle, self._reader(handle, place), stream, manner=None, first=[])
        except BaseException:
            self._free(lane)
            raise
        self._names[handle.id] = lane
        self._turns.add(told)

    def _free(self, lane: str | None) -> None:
        """A lane has nothing to tell any more: the request that waits for it is next."""
        self._taken.discard(lane)
        for waiting in self._waiting:
            if waiting[0] == lane:
                self._waiting.remove(waiting)
                self._taken.add(lane)
                task = asyncio.get_running_loop().create_task(self._begin_late(waiting[1], lane), name="begin the next")
                self._beginning.add(task)
                task.add_done_callback(self._beginning.discard)
                return

    async def _begin_late(self, body: bytes, lane: str | None) -> None:
        try:
            try:
                await self._begin(body, lane)
            except Refused as problem:
                await self._refuse(problem.fault, lane)
                await self._close_when_told()
        except OSError:
            pass  # the client left, as whoever reads is told
        except Exception as problem:  # noqa: BLE001 - as in `run`; the close ends the reading too
            await self._fail(problem)

    def _over(self, handle: RunHandle) -> None:
        if handle.state is Phase.ENDED and (turn := self._recent.find(handle.id)) is not None and turn.answered is None:
            self._recent.ended(handle.id, handle.log.snapshot())
        self._free(self._names.pop(handle.id))

    async def _cancel(self, message: dict[str, Json], lane: str | None) -> None:
        answer = take(message, "response_id", str, None)
        nothing_else(message, "message 'response.cancel'")
        here = next((run for run, name in self._names.items() if name == lane), "")
        run = here if answer is None else run_of(answer, self._prefix)
        if run not in self._names:
            raise Refused(
                "stream_not_found",
                "no such answer is being given on this connection; others are cancelled over HTTP",
                param="stream_id" if answer is None else "response_id",
            )
        self._service.runs.cancel(self._turns.lanes[run].handle)

    async def _steer(self, message: dict[str, Json], lane: str | None) -> None:
        """Hand messages of the user to a source that takes them in mid-answer; what becomes of them is the source's."""
        given = message.get("input")
        target = message.get("previous_response_id")
        self._steers += 1
        steer: dict[str, Json] = {"id": f"steer_{self._steers}", "previous_response_id": target}
        told: dict[str, Json] = {"sequence_number": self._steers - 1, "steer": steer}
        try:
            run = self._steered(message, lane)
            told["stream_id"] = self._names[run]
            messages = await self._said(given)
            self._service.runs.input(self._turns.lanes[run].handle, {"messages": messages})
        except Refused as problem:
            self._refused(problem.fault.code)
            code = STEERING.get(problem.fault.code, "invalid_input")
            if code == "response_not_found" and self._recent.find(run_of(str(target), self._prefix)) is not None:
                code = "response_already_completed"
            told["steer"] = {"input": given, "previous_response_id": target}
            error: Json = {"code": code, "message": problem.fault.message, "type": "invalid_request_error"}
            await self._say({"type": "response.steer.failed", "error": error, **told})
            return
        await self._say({"type": "response.steer.accepted", **told})

    def _steered(self, message: dict[str, Json], lane: str | None) -> str:
        """The run that is meant. Raises `Refused`."""
        answer = take(message, "previous_response_id", str, "") or ""
        message.pop("input", None)
        if lane is not None:
            message["stream_id"] = lane
        nothing_else(message, "message 'response.steer'")
        run = run_of(answer, self._prefix)
        if run not in self._names:
            raise Refused(
                "stream_not_found", "no such answer is being given on this connection", param="previous_response_id"
            )
        return run

    async def _said(self, given: Json) -> list[Json]:
        """What the user says in mid-answer, read as in a request. Raises `Refused`."""
        request = await parsed(self._dialect.parse, encode({"input": given}))
        if any(message.get("role") != "user" for message in request.messages):
            raise Refused("invalid_request", "an answer is steered with messages of the user alone", param="input")
        return list(request.messages)


MESSAGES: dict[str, Callable[[ResponsesSocket, dict[str, Json], str | None], Awaitable[None]]] = {
    "response.create": ResponsesSocket._create,
    "response.cancel": ResponsesSocket._cancel,
    "response.steer": ResponsesSocket._steer,
}
