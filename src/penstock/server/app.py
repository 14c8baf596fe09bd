"""The ASGI application: which path leads where. Plain ASGI on Starlette's routing, and no middleware that wraps a response."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Literal
from urllib.parse import parse_qs

from starlette._utils import get_route_path
from starlette.routing import BaseRoute, Match, Router, WebSocketRoute
from starlette.routing import Route as HttpRoute
from starlette.types import Receive, Scope, Send

from penstock.auth.browser import preflight
from penstock.core.errors import Refused, fault
from penstock.core.events import Fault
from penstock.core.frame import Dialect
from penstock.core.observer import REQUEST_ID, Observer
from penstock.flow.runs import Runs
from penstock.flow.watchdog import Watchdog
from penstock.server import elsewhere
from penstock.server.answers_api import AnswersApi
from penstock.server.calls_api import COUNT_TOKENS, EMBEDDINGS, INPUT_TOKENS, CallsApi
from penstock.server.chats_api import ChatsApi
from penstock.server.door import Starter
from penstock.server.exchange import ClientGone, Cut, Exchange, Header
from penstock.server.gate import BEARER, Gate, access, credential
from penstock.server.health import Health
from penstock.server.metrics import PATH as METRICS
from penstock.server.metrics import Scrape
from penstock.server.models_api import ModelsApi
from penstock.server.pages import NO_REFERRER, Page
from penstock.server.problems import refuse, refuse_upgrade
from penstock.server.service import Route, Service
from penstock.server.streams_api import StreamsApi
from penstock.server.transports.responses_socket import ResponsesSocket
from penstock.server.transports.socket import Socket
from penstock.server.transports.websocket import NativeSocket

Answer = Callable[[Exchange], Awaitable[None]]

Way = Literal["key", "url", "page", "health"]
"""What a path wants: a key; a key, or a URL with a right in it; nothing but a browser that may; nothing at all."""

NO_UPGRADE = "connect to it with one"
LOST_UPGRADE = (
    "the request has a Sec-WebSocket-Key but no Upgrade header, so a proxy in front dropped it; in nginx add"
    " 'proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\";'"
)
"""What a handshake lacks that came through a proxy which does not pass it on (RFC 9110 §7.8: the header is hop by hop)."""


UPGRADE: list[Header] = [(b"upgrade", b"websocket"), (b"connection", b"upgrade")]
"""What a 426 must say (RFC 9110 §15.5.22)."""


class Endpoint:
    """One path over HTTP: answers by method, and turns refusals into errors in the dialect asked for, or the route's."""

    def __init__(
        self,
        answers: dict[str, Answer],
        dialect: Dialect | None,
        dialects: Mapping[str, Dialect],
        observer: Observer,
        *,
        path: str,
        gate: Gate,
        way: Way = "key",
    ):
        self._answers = answers
        self._path = path
        self._gate = gate
        self._way = way
        self._dialect = dialect
        self._dialects = dialects
        self._observer = observer
        self.methods: Collection[str] = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        REQUEST_ID.set(exchange.request_id)
        try:
            if await self._enters(exchange):
                return
            answer = self._answers.get(exchange.method)
            if answer is None:
                raise Refused(
                    "method_not_allowed", f"{exchange.method} is not allowed at {self._path}; {self._allowed} are"
                )
            await answer(exchange)
        except Refused as problem:
            self._observer.refused(problem.fault.code, self._path)
            await self._refuse(exchange, problem.fault, self._beside(problem.fault.code))
        except ClientGone:
            pass
        except Cut:
            raise
        except asyncio.CancelledError:
            if exchange.aborted:
                raise Cut from None  # it was we who gave up a write that was stuck
            raise
        except Exception as problem:  # noqa: BLE001 - whatever it is, the client gets a typed error and the log the reason
            self._observer.request_failed(exchange.request_id, str(scope["path"]), problem)
            await self._refuse(exchange, fault("internal"), [])

    async def _enters(self, exchange: Exchange) -> bool:
        """Pass the gate; whether everything is answered already. Raises `Refused`."""
        gate, headers = self._gate, exchange.headers
        if self._way == "health":
            return False
        exchange.admitted = gate.greet(headers, harmless=self._way == "page")
        if exchange.method == "OPTIONS" and exchange.admitted and b"access-control-request-method" in headers:
            # A browser asks whether a page may; it shows no key yet (Fetch standard, CORS-preflight).
            await exchange.reply(204, b"", "", preflight(self._answers))
            return True
        if self._way == "page" or gate.open:
            return False
        if self._way == "url":
            exchange.access = access(exchange.scope["query_string"])
        if exchange.access is None:
            exchange.grant = await gate.enter(exchange.scope, credential(headers))
        else:
            exchange.grant = BEARER
            exchange.admitted = (*exchange.admitted, NO_REFERRER)
        return False

    async def _refuse(self, exchange: Exchange, problem: Fault, headers: list[Header]) -> None:
        """Answer with an error; where the answer has begun, the line is cut, so that nobody takes it for complete."""
        if exchange.started:
            exchange.cut()
            return
        try:
            await refuse(exchange, problem, self._words(exchange), headers)
        except ClientGone:
            pass

    def _beside(self, code: str) -> list[Header]:
        """What a refusal says in headers, whoever was refused."""
        match code:
            case "method_not_allowed":
                return [(b"allow", self._allowed.encode())]
            case "upgrade_required":
                return UPGRADE
            case _:
                return []

    def _words(self, exchange: Exchange) -> Dialect | None:
        asked = parse_qs(exchange.scope["query_string"].decode("latin-1")).get("dialect", [""])[0]
        if self._dialect is None:
            return elsewhere.words(self._path, exchange.headers, self._dialects)
        return self._dialects.get(asked, self._dialect)

    @property
    def _allowed(self) -> str:
        return ", ".join(self._answers)


class AnswerRoute(HttpRoute):
    """The path of one answer. Nothing is posted to an answer, so a name that is no answer's is an operation, and not served."""

    def __init__(self, path: str, endpoint: Endpoint, prefix: str):
        super().__init__(path, endpoint)
        self._prefix = prefix

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        if match is Match.NONE or scope["method"] != "POST":
            return match, found
        named: str = found["path_params"]["answer"]
        return (match, found) if named.startswith(self._prefix) else (Match.NONE, {})


class App:
    """The whole server as one ASGI application; mount it, or serve it. The ticker starts with the first request or the lifespan."""

    def __init__(self, service: Service):
        self.service = service
        self._watchdog = Watchdog(service.runs, heartbeat=service.heartbeat)
        self._ticking: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        """What goes on beside the answers: each waits for the runs that began before a reload, or warms the providers."""
        self._route()

    def adopt(self, service: Service) -> None:
        """Answer by another configuration from now on, over the same runs: those that live go on as they began."""
        close = self.service.close
        self.service.become(service)
        self._watchdog.beat_every(service.heartbeat)
        self._route()
        retiring = asyncio.get_running_loop().create_task(self._retire(close), name="retire a configuration")
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)
        self._warm_up()

    async def _retire(self, close: Callable[[], Awaitable[None]]) -> None:
        """Close what an earlier configuration held open once no run needs it any more."""
        try:
            for handle in list(self.service.runs.active.values()):
                await handle.pump.closed()
        finally:
            await close()

    def _route(self) -> None:
        routes = self._routes()
        self._router = Router(routes=routes, default=self._unknown, redirect_slashes=False)
        self._exact = {each.path: each.app for each in routes if isinstance(each, HttpRoute) and "{" not in each.path}
        """The paths that need no matching, which are all that begin a run: the router tries one pattern after the other."""

    def _routes(self) -> list[BaseRoute]:
        service = self.service
        api, models, health = StreamsApi(service), ModelsApi(service), Health(service)
        calls = CallsApi(service)
        native = service.native.dialect
        start = Starter(service, service.native)
        endpoints: list[tuple[str, dict[str, Answer], Dialect | None, Way]] = [
            ("/v1/streams", {"POST": start, "GET": api.index}, native, "key"),
            ("/v1/streams/events", {"GET": api.together}, native, "url"),
            ("/v1/streams/{stream}", {"GET": api.show, "DELETE": api.delete}, native, "url"),
            ("/v1/streams/{stream}/events", {"GET": api.events}, native, "url"),
            ("/v1/streams/{stream}/input", {"POST": api.input}, native, "url"),
            ("/v1/streams/{stream}/cassette", {"GET": api.cassette}, native, "url"),
            ("/v1/models", {"GET": models.index}, None, "key"),
            ("/v1/models/{model:path}", {"GET": models.show}, None, "key"),
            (EMBEDDINGS, {"POST": calls.embeddings}, None, "key"),
            (COUNT_TOKENS, {"POST": calls.count_tokens}, None, "key"),
            (INPUT_TOKENS, {"POST": calls.input_tokens}, None, "key"),
            ("/healthz", {"GET": health.live, "HEAD": health.live}, None, "health"),
            ("/readyz", {"GET": health.ready, "HEAD": health.ready}, None, "health"),
        ]
        if service.exposition is not None and service.scrape_here:
            endpoints.append((METRICS, {"GET": Scrape(service)}, None, "key"))
        for path, (body, kind) in service.pages.items():
            page = Page(body, kind)
            endpoints.append((path, {"GET": page, "HEAD": page}, None, "page"))
        sockets: list[BaseRoute] = []
        for route in service.routes:
            if route.transports == ("websocket",):
                sockets.append(WebSocketRoute(route.path, SocketEndpoint(service, route, NativeSocket)))
            else:
                answers: dict[str, Answer] = dict.fromkeys(route.methods, Starter(service, route))
                if route.dialect.traits.answer_prefix and "POST" in route.methods:
                    kept = AnswersApi(service, route)
                    answers.setdefault("GET", kept.upgrade)
                    of_one = f"{route.path}/{{answer}}"
                    endpoints.append((of_one, {"GET": kept.show, "DELETE": kept.delete}, route.dialect, "key"))
                    endpoints.append((f"{of_one}/cancel", {"POST": kept.cancel}, route.dialect, "key"))
                    endpoints.append((f"{of_one}/input_items", {"GET": kept.input_items}, route.dialect, "key"))
                    socket = SocketEndpoint(service, route, ResponsesSocket, route.dialect)
                    sockets.append(WebSocketRoute(route.path, socket))
                if route.dialect.traits.chats and "POST" in route.methods:
                    chats = ChatsApi(service, route)
                    of_chat = f"{route.path}/{{chat:path}}/stream"
                    endpoints.append((of_chat, {"GET": chats.resume, "DELETE": chats.stop}, route.dialect, "key"))
                endpoints.append((route.path, answers, route.dialect, "key"))
        routes: list[BaseRoute] = []
        for path, answers, dialect, way in endpoints:
            endpoint = Endpoint(
                answers,
                dialect,
                service.dialects,
                service.runs.observer,
                path=path.replace(":path", ""),
                gate=service.gate,
                way=way,
            )
            if dialect is not None and path.endswith("/{answer}"):
                routes.append(AnswerRoute(path, endpoint, dialect.traits.answer_prefix))
            else:
                routes.append(HttpRoute(path, endpoint))
        return routes + sockets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if self._ticking is None:
            self.start()
        exact = self._exact.get(scope["path"]) if scope["type"] == "http" and not scope.get("root_path") else None
        await (exact or self._router)(scope, receive, send)

    def start(self) -> None:
        """Start the ticker on the running loop, and what watches that loop."""
        if self.service.loop_watch is not None:
            self.service.loop_watch.start()
        loop = asyncio.get_running_loop()
        self._ticking = loop.create_task(self._watchdog.run(), name="penstock watchdog")
        self._warm_up()

    def _warm_up(self) -> None:
        if self.service.warm is not None:
            warming = asyncio.get_running_loop().create_task(self._warm(self.service.warm), name="warm the providers")
            self._retiring.add(warming)
            warming.add_done_callback(self._retiring.discard)

    async def _warm(self, warm: Callable[[Runs], Awaitable[None]]) -> None:
        """Nobody waits for it, and a provider that is not there now may be there when it is asked."""
        try:
            await warm(self.service.runs)
        except Exception as problem:  # noqa: BLE001 - whatever it is, the server serves
            self.service.runs.observer.background_failed(problem)

    async def close(self) -> None:
        """End every run and the ticker; a mounted app whose host sends no lifespan calls this when it goes."""
        await self.service.runs.close()
        for retiring in self._retiring:
            retiring.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        await self.service.close()
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.wait([self._ticking])
            self._ticking = None
            if self.service.loop_watch is not None:
                self.service.loop_watch.stop()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self.start()
        await send({"type": "lifespan.startup.complete"})
        try:
            await receive()
        except asyncio.CancelledError:
            if self.service.loop_watch is not None:
                self.service.loop_watch.stop()
            return  # told to end at once: nobody waits, and uvicorn would log it as an error
        await self.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _unknown(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, mounted = get_route_path(scope), scope.get("root_path", "")
        if (other := elsewhere.meant(path, self._router.routes)) is not None:
            await self._router({**scope, "path": mounted + other}, receive, send)
            return
        sockets = [route.path for route in self._router.routes if isinstance(route, WebSocketRoute)]
        refused = self.service.runs.observer.refused
        if scope["type"] == "websocket":
            await receive()
            where = f"; there is one at {', '.join(mounted + socket for socket in sockets)}" if sockets else ""
            problem = fault("route_not_found", f"no WebSocket is served at {mounted}{path[:128]}{where}")
            refused(problem.code, "")
            await refuse_upgrade(scope, send, problem)
            return
        exchange = Exchange(scope, receive, send)
        REQUEST_ID.set(exchange.request_id)
        gate = self.service.gate
        dialect = None if path in sockets else elsewhere.words(path, exchange.headers, self.service.dialects)
        try:
            exchange.admitted = gate.greet(exchange.headers)
            if path not in sockets:
                await gate.enter(scope, credential(exchange.headers))
        except Refused as refusal:
            refused(refusal.fault.code, "")
            await refuse(exchange, refusal.fault, dialect)
            return
        if path in sockets:
            refused("upgrade_required", path)
            lost = exchange.header("sec-websocket-key")
            what = LOST_UPGRADE if lost else NO_UPGRADE
            problem = fault("upgrade_required", f"{mounted}{path} is a WebSocket: {what}")
            await refuse(exchange, problem, None, UPGRADE)
            return
        known = [route.path for route in self.service.routes]
        known += [route.path for route in self._router.routes if isinstance(route, HttpRoute)]
        problem = fault("route_not_found", elsewhere.nothing_at(path, mounted, dict.fromkeys(known)))
        refused(problem.code, "")
        await refuse(exchange, problem, dialect)


class SocketEndpoint:
    """One path over WebSocket. Whoever may not enter is refused before the handshake is answered, in the `dialect`'s words."""

    def __init__(self, service: Service, route: Route, socket: type[Socket], dialect: Dialect | None = None):
        self._service = service
        self._route = route
        self._socket = socket
        self._dialect = dialect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._socket(self._service, self._route, scope, receive, send).run()
        except Refused as problem:
            self._service.runs.observer.refused(problem.fault.code, self._route.path)
            await refuse_upgrade(scope, send, problem.fault, self._dialect)
