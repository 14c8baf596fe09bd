"""The way in, behind the gate: admit → parse → start or attach. Everything that begins or joins a run over HTTP comes through here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import msgspec

from penstock.auth.grant import Grant
from penstock.core.errors import Refused, fault
from penstock.core.events import Cancelled, Failed
from penstock.core.observer import ARRIVED, Origin
from penstock.core.request import ChatRequest
from penstock.core.source import compose
from penstock.flow.conversations import Recent
from penstock.flow.handle import Place, RunHandle
from penstock.flow.policy import OnDisconnect
from penstock.server import deadlines, hints
from penstock.server.arrival import READING, Arrival
from penstock.server.conversing import taken_up
from penstock.server.exchange import Exchange
from penstock.server.hints import hinted
from penstock.server.media import reading
from penstock.server.negotiation import CONTENT_TYPES
from penstock.server.problems import refuse
from penstock.server.service import Route, Service
from penstock.server.transports.http import Delivery, deliver, hold, run_headers, streaming_headers

T = TypeVar("T")

OFF_LOOP = 256 * 1024
"""Bodies above so many bytes are parsed in a thread."""

STARTING = READING | {"key"}
ASKING = STARTING | {"model", "prompt"}


class Starter:
    """Serves one route that starts runs: POST with a body, GET for an EventSource that can only ask in its URL."""

    def __init__(self, service: Service, route: Route):
        self._service = service
        self._route = route

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request. Raises `Refused` before anything was sent."""
        service, route = self._service, self._route
        grant = exchange.grant
        get = exchange.method == "GET"
        options = exchange.options(ASKING if get else STARTING)
        arrival = Arrival(service, exchange, route, options)
        if arrival.cursor is not None:
            # A request with a cursor never starts a run: it was somebody's reconnect.
            handle = service.runs.find(arrival.cursor.run, grant.principal)
            if not get:
                await exchange.body(service.max_body)  # until it is read, nobody sees the client leave
            await read(arrival, handle, held=0.0)
            return
        handle = await self._run(arrival, grant, options)
        if not handle.request.stream and handle.request.background and route.dialect.traits.answer_prefix:
            await standing(arrival, handle)
        elif not handle.request.stream:
            await whole(arrival, handle)
        elif arrival.json:
            await self._created(exchange, handle)
        else:
            await read(arrival, handle, held=0.0 if arrival.eventsource else route.header_hold)

    async def _created(self, exchange: Exchange, handle: RunHandle) -> None:
        """201: the run has started and finishes whoever listens, until its first reader attaches."""
        service = self._service
        path = exchange.scope.get("root_path", "") + f"/v1/streams/{handle.id}"
        body = {
            "id": handle.id,
            "cursor": handle.cursor(0),
            "model": handle.request.model,
            "state": handle.state.value,
            "events_url": f"{path}/events{service.gate.token(handle, 'read')}",
            "cancel_url": f"{path}{service.gate.token(handle, 'cancel')}",
            "url": path,
        }
        headers = [(b"location", path.encode()), (b"penstock-stream-id", handle.id.encode())]
        await exchange.reply(201, msgspec.json.encode(body), "application/json", headers)

    async def _run(self, arrival: Arrival, grant: Grant, options: dict[str, str]) -> RunHandle:
        """The run this request is about: the one its idempotency key began, or a new one."""
        service, route, exchange = self._service, self._route, arrival.exchange
        get = exchange.method == "GET"
        key = exchange.header("idempotency-key") or options.get("key", "")
        if not key:
            service.runs.admission.check()  # with a key, the run may have begun already
        body = exchange.scope["query_string"] if get else await exchange.body(service.max_body)
        ARRIVED.set(time.monotonic())
        if arrival.skip_bytes is not None and not key:
            raise Refused(
                "bad_cursor",
                "'bytes=' names no stream: GET /v1/streams/{id}/events?after=bytes=…, or send the Idempotency-Key again",
                param="after",
            )

        async def begun() -> RunHandle:
            admit(service, route, grant, reads=not arrival.json)
            request = asked(options) if get else await parsed(reading(route.dialect.parse, service.max_media), body)
            if passes := route.dialect.traits.passes:
                given = {name: value for name in passes if (value := exchange.header(name))}
                request = msgspec.structs.replace(request, headers=given)
            if request.stream and route is not service.native:
                arrival.check_streams()
            detached = request.stream and arrival.json
            transport = arrival.transport if request.stream or route.streams else "json"
            return await begin(
                service,
                route,
                request,
                grant,
                keyed=bool(key),
                detached=detached,
                transport=transport,
                patience=exchange.header(deadlines.HEADER),
                hint=exchange.header(hints.HEADER),
            )

        return await service.runs.keys.once(grant.principal, route.path, key, body, begun) if key else await begun()


async def parsed(parse: Callable[[bytes], T], body: bytes) -> T:
    """What `parse` makes of a body; a large one is read in a thread, so that the others do not wait. Raises `Refused`."""
    if len(body) > OFF_LOOP:
        return await asyncio.get_running_loop().run_in_executor(None, parse, body)
    return parse(body)


def admit(service: Service, route: Route, grant: Grant, *, reads: bool) -> None:
    """Somebody wants to begin a run at a route, and read it or not. Raises `Refused` where they may not, or not so fast."""
    if not grant.may_begin(route.path):
        raise Refused("forbidden", f"this key may not begin runs at {route.path}; it may at {', '.join(grant.routes)}")
    if reads:
        service.runs.shares.check_reader(grant.principal, most=grant.allowance.concurrent_readers)
    service.gate.quota.begin(grant)


async def begin(
    service: Service,
    route: Route,
    request: ChatRequest,
    grant: Grant,
    *,
    keyed: bool = False,
    detached: bool = False,
    transport: str,
    recent: Recent | None = None,
    patience: str = "",
    hint: str = "",
) -> RunHandle:
    """Start a run of the model the request, the route or the configuration names; a `keyed` one waits for its client to come back.

    `patience` are the time limits it sets for itself, see `deadlines`, and `hint` is what it wants of routing. `recent` are the
    answers its connection can go on from, of which this becomes one. Raises `Refused`.
    """
    model = service.model(request.model or route.model or "", grant)
    runs, policy = service.runs, route.policy
    hint = hinted(model.hints, hint)
    if model.limits or patience:
        limits = deadlines.limited(msgspec.structs.replace(policy.limits, **model.limits), patience)
        policy = msgspec.structs.replace(policy, limits=limits)
    if keyed and policy.on_disconnect.what == "cancel":
        policy = msgspec.structs.replace(policy, on_disconnect=OnDisconnect("grace"))
    # From here on the turn is held: nothing may be refused before `start`, which lets go of it.
    request, turn = await taken_up(runs, route.dialect, request, grant.principal, most=service.max_body, recent=recent)
    request = msgspec.structs.replace(request, model=model.name, stream=request.stream or route.streams, hint=hint)
    source = compose(model.source, route.stages)
    origin = Origin(route.path, transport, model.owner)
    handle = await runs.start(
        request,
        source,
        policy,
        principal=grant.principal,
        detached=detached,
        origin=origin,
        most=grant.allowance.concurrent_runs,
        most_of_model=model.concurrent,
        turn=turn,
    )
    if recent is not None and turn is not None:
        recent.add(handle.id, turn)
        if not request.keep:
            runs.let_go(handle)  # nobody but this connection goes on from it, and only for as long as it stays
    return handle


def at_end(handle: RunHandle, place: Place) -> bool:
    """Whether a reader has everything there is and will be: 204."""
    return handle.log.sealed and place.after == handle.log.last and place.gap is None


def asked(options: dict[str, str]) -> ChatRequest:
    """The question of a GET. Raises `Refused`."""
    prompt = options.get("prompt", "")
    if not prompt:
        raise Refused("invalid_request", "option 'prompt' is required: what do you want to ask?", param="prompt")
    return ChatRequest(model=options.get("model", ""), messages=({"role": "user", "content": prompt},))


async def read(arrival: Arrival, handle: RunHandle, *, held: float) -> None:
    """Attach a reader and stream to it. With `held`, the status line waits so many seconds for the first thing said."""
    exchange, service = arrival.exchange, arrival.service
    arrival.check_streams()
    now = service.runs.now
    place, skip_bytes = arrival.join(handle)
    if at_end(handle, place):
        service.runs.observer.resumed("ended")
        await exchange.reply(204, b"", "", [(b"penstock-stream-id", handle.id.encode())])
        return
    arrival.told_back(place)
    service.gate.check_reader(service.runs, handle, exchange.grant)
    reader = service.runs.attach(handle, place.after, transport=arrival.transport)
    handed_over = False
    try:
        exchange.watch(reader.detach)
        reader.on_drop, reader.progress = exchange.abort, exchange.progress
        failure = await hold(handle, reader, now, now() + held) if held else None
        if not reader.attached and reader.dropped is None:
            return  # the client left meanwhile
        if failure is not None:
            await refuse(exchange, failure, arrival.whole, [(b"penstock-stream-id", handle.id.encode())])
            return
        teller, opening = arrival.teller(handle, reader, place, skip_bytes)
        await exchange.stream(streaming_headers(handle, CONTENT_TYPES[arrival.transport], arrival.dialect))
        if exchange.connection is None:
            await deliver(exchange, teller, opening=opening)
        else:
            failed = partial(service.runs.observer.request_failed, exchange.request_id, str(exchange.scope["path"]))
            handed_over = True
            Delivery(exchange.connection, teller, opening, failed=failed).begin()
    finally:
        if not handed_over:
            exchange.unwatch()
            reader.detach("done" if reader.finished else "left")


async def standing(arrival: Arrival, handle: RunHandle) -> None:
    """Send the answer as one object as it stands, complete or not, in a dialect that has words for that.

    Raises `Refused(answer_too_large)` where its beginning is no longer held: nobody is to take the rest for all of it.
    """
    snapshot = handle.log.snapshot()
    if snapshot.elided:
        raise Refused("answer_too_large")
    body = arrival.route.dialect.whole(snapshot, arrival.view(handle))
    headers = [*run_headers(handle), (b"cache-control", b"no-store")]
    await arrival.exchange.reply(200, body, "application/json", headers)


async def whole(arrival: Arrival, handle: RunHandle) -> None:
    """Wait for the whole answer and send it as one object; a run that did not finish answers its error's status."""
    exchange, service = arrival.exchange, arrival.service
    service.gate.check_reader(service.runs, handle, exchange.grant)
    reader = service.runs.attach(handle, 0 if handle.log.first == 1 else handle.log.first - 1, transport="json")
    try:
        exchange.watch(reader.detach)
        while await reader.take(handle.policy.bounds.turn_bytes):
            pass
        if not reader.finished:
            return
        snapshot = handle.log.snapshot()
        headers = [*run_headers(handle), (b"cache-control", b"no-store")]
        match snapshot.end:
            case Failed(error):
                await refuse(exchange, error, arrival.whole, headers)
            case Cancelled():
                await refuse(exchange, fault("cancelled"), arrival.whole, headers)
            case _ if snapshot.elided:
                await refuse(exchange, fault("answer_too_large"), arrival.whole, headers)
            case _:
                body = arrival.whole.whole(snapshot, arrival.view(handle))
                await exchange.reply(200, body, "application/json", headers)
    finally:
        exchange.unwatch()
        reader.detach("done" if reader.finished else "left")
