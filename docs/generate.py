"""Writes what the documentation takes from the code: whole pages of the reference, and marked blocks in the others.

    python -m docs.generate            writes
    python -m docs.generate --check    names what the code would write differently, and exits with 1

A block stands between `<!-- generated: NAME -->` and `<!-- end -->`; NAME is a function of `BLOCKS`, or `file PATH`.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import msgspec
from starlette.routing import Route
from starlette.types import Message

from docs import clients, dialects, limits, providers
from penstock import registry
from penstock.assembly import build
from penstock.cli import reference as cli
from penstock.config import explain
from penstock.config.model import Config
from penstock.config.routes import DEFAULT_ROUTES
from penstock.core import events
from penstock.core.cursor import Entry
from penstock.core.errors import TABLE, Blame
from penstock.core.events import (
    TERMINAL,
    Cancelled,
    Chunk,
    Closed,
    Delta,
    Event,
    Failed,
    Fault,
    Finished,
    Note,
    Opened,
    Started,
    ToolReturned,
    Usage,
)
from penstock.core.frame import TransportEncoder, View
from penstock.core.lifecycle import TRANSITIONS
from penstock.encoders.chunked import NdjsonEncoder, TextEncoder
from penstock.encoders.sse import SseEncoder
from penstock.encoders.stream import Stream
from penstock.encoders.websocket import WebSocketEncoder
from penstock.server.app import App, Endpoint
from penstock.server.negotiation import MEDIA_TYPES
from penstock.telemetry import families

DOCS = Path(__file__).parent
ROOT = DOCS.parent
BLOCK = re.compile(r"(<!-- generated: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)

PAGES: dict[str, Callable[[], str]] = {
    "reference/config.md": explain.reference,
    "reference/cli.md": cli.reference,
    "reference/metrics.md": families.reference,
}
"""Pages that are generated whole, by the room they describe."""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


PAGES.update(dialects.pages(table))
PAGES["reference/providers.md"] = partial(providers.page, table)


def fenced(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"


# -- errors and states -------------------------------------------------------------------------------------------------


def errors(blame: Blame) -> str:
    """The rows of the error table that one side is to blame for."""
    return table(
        ("code", "HTTP status", "close code", "retryable", "meaning"),
        (
            (f"`{code}`", str(row.status), str(row.close), "yes" if row.retryable else "no", row.meaning)
            for code, row in TABLE.items()
            if row.blame == blame
        ),
    )


def states() -> str:
    """The transition table: what may be said in which state, and where it leads."""
    return table(
        ("event", *(f"*{phase.value}*" for phase in TRANSITIONS)),
        (
            (f"`{kind.__name__}`", *(rows[kind].value if kind in rows else "" for rows in TRANSITIONS.values()))
            for kind in get_args(Event)
        ),
    )


# -- events ------------------------------------------------------------------------------------------------------------

RUN, EPOCH, CREATED = "st_k5xw2mq7z4c3ab6nd5pe2rf7ys", "a1", 1_750_000_000
ACCOUNT = Usage(12, 9, "reported", cached=8)
STORY: tuple[Event, ...] = (
    Started(RUN, "demo", CREATED),
    Note("retrieval", {"hits": 3}),
    Opened(0, "reasoning"),
    Delta(0, "I should look."),
    Closed(0),
    Opened(1, "tool_call", name="weather", call_id="call_1"),
    Delta(1, '{"city": "Oslo"}'),
    Closed(1),
    ToolReturned("call_1", {"celsius": 17}),
    Opened(2, "text"),
    Delta(2, "It is 17 °C."),
    Closed(2, {"finish_reason": "stop"}),
    Opened(3, "binary", name="sky.png", media_type="image/png"),
    Chunk(3, b"\x89PNG"),
    Closed(3),
    ACCOUNT,
    Finished("stop", ACCOUNT),
)
"""A run that says everything once; the other two ends are told in its last place."""
ENDS: tuple[Event, ...] = (
    Failed(
        Fault("provider_truncated", TABLE["provider_truncated"].meaning, TABLE["provider_truncated"].retryable), ACCOUNT
    ),
    Cancelled("client", ACCOUNT),
)
ENCODERS: dict[str, str] = {"sse": "SSE", "ndjson": "NDJSON", "websocket": "WebSocket", "text": "bare text"}


def told(dialect_name: str, transport: str) -> list[tuple[Event, list[str]]]:
    """Every event of the story and its other ends, with what one dialect says of it on one transport."""
    found: list[tuple[Event, list[str]]] = []
    for end in (STORY[-1], *ENDS):
        dialect = registry.resolve("dialects", dialect_name)()
        view = View(
            run=RUN,
            model="demo",
            created=CREATED,
            include_usage=True,
            binary=transport == "websocket",
            bare=transport == "text",
        )
        encoder = encoder_of(transport, dialect.traits.cursor_key)
        stream: Stream[Any] = Stream(dialect.renderer(view), encoder, run=RUN, epoch=EPOCH)
        for offset, event in enumerate((*STORY[:-1], end), 1):
            said = [shown(wire) for wire in stream.feed([Entry(offset, offset, 40 * offset, event)])]
            if end is STORY[-1] or event is end:
                found.append((event, said))
    return found


def encoder_of(transport: str, cursor_key: str) -> TransportEncoder[Any]:
    match transport:
        case "sse":
            return SseEncoder()
        case "ndjson":
            return NdjsonEncoder(cursor_key=cursor_key)
        case "websocket":
            return WebSocketEncoder(RUN, cursor_key=cursor_key)
        case _:
            return TextEncoder()


def shown(wire: str | bytes) -> str:
    """One message as it is printed: the run's id shortened, a binary message with its parts named."""
    if isinstance(wire, bytes) and wire[:1] == b"\0":
        size = int.from_bytes(wire[:2], "big")
        header = wire[2 : 2 + size].decode()
        text = f"binary: {wire[:2].hex(' ')} {header} {wire[2 + size :].hex(' ')}"
    else:
        text = wire.decode() if isinstance(wire, bytes) else wire
    return text.strip().replace(RUN, "st_…").replace(RUN.removeprefix("st_"), "…")


def vocabulary() -> str:
    """Every event: what it says, its fields, and what it looks like on the wire in the native dialect."""
    wires = {transport: told("native", transport) for transport in ("sse", "ndjson", "websocket")}
    sections = []
    for kind in get_args(Event):
        sections.append(f"### `{kind.__struct_config__.tag}`\n\n{sentence(kind)}\n\n{fields(kind)}\n")
        place = next(i for i, (event, _) in enumerate(wires["sse"]) if type(event) is kind)
        lines = []
        for transport, said in wires.items():
            first, *more = "\n".join(said[place][1]).splitlines()
            label = f"{ENCODERS[transport]:<10} "
            lines += [label + first, *(" " * len(label) + line for line in more if not line.startswith("retry:"))]
        sections.append(fenced("text", "\n".join(lines)) + "\n")
    return "\n".join(sections)


def fault() -> str:
    """The fields of the error inside `failed`."""
    return fields(Fault)


def fields(kind: type[msgspec.Struct]) -> str:
    """The members of a struct as JSON has them."""
    about = attribute_docs(kind)
    hints = inspect.get_annotations(kind)
    rows = []
    for field in msgspec.structs.fields(kind):
        left_out = kind.__struct_config__.omit_defaults or field.default is msgspec.UNSET
        default = "may be missing" if left_out and not field.required else "always"
        if field.default not in (None, msgspec.NODEFAULT, msgspec.UNSET):
            default += f", then `{msgspec.json.encode(field.default).decode()}`" if default[0] == "m" else ""
        rows.append((f"`{field.name}`", json_type(hints[field.name]), default, about.get(field.name, "")))
    if not about:
        return table(("member", "type", "there"), [row[:3] for row in rows])
    return table(("member", "type", "there", "meaning"), rows)


NAMES = {
    "int": "whole number",
    "float": "number",
    "str": "text",
    "bool": "true or false",
    "bytes": "base64; on a WebSocket the bytes themselves",
    "Json": "any JSON",
    "Fault": "object, see [`failed`](#failed)",
    "tuple[Spent, ...]": "list of `target` and its `usage`",
    "Usage": "object, see [`usage`](#usage)",
    "msgspec.Raw": "the provider's JSON",
    "dict[str, Json]": "object",
}


def json_type(hint: object) -> str:
    """An annotation in the words of JSON."""
    text = hint if isinstance(hint, str) else str(getattr(hint, "__name__", hint))
    text = text.removesuffix(" | None").removesuffix(" | msgspec.UnsetType")
    words = {"Kind": events.Kind, "Grade": events.Grade}
    if text in words:
        return " ".join(f"`{word}`" for word in get_args(words[text]))
    return NAMES[text]


def attribute_docs(kind: type) -> dict[str, str]:
    """What stands as a docstring under each field."""
    (body,) = [node.body for node in ast.parse(inspect.getsource(kind)).body if isinstance(node, ast.ClassDef)]
    return {
        field.target.id: after.value.value
        for field, after in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
        and isinstance(after.value.value, str)
    }


def sentence(kind: type) -> str:
    return inspect.cleandoc(kind.__doc__ or "")


# -- dialects ----------------------------------------------------------------------------------------------------------


def dialect(name: str) -> str:
    """What one dialect says of every event, as NDJSON; `plain` as bare text too."""
    columns = [told(name, "ndjson"), *([told(name, "text")] if name == "plain" else [])]
    lines = []
    for said in zip(*columns, strict=True):
        event = said[0][0]
        label = str(event.__struct_config__.tag)
        if isinstance(event, Opened):
            label += f" ({event.kind})"
        words = said[0][1] or ["(nothing)"]
        lines += [f"{label if place == 0 else '':<20} {word}" for place, word in enumerate(words)]
        if len(said) > 1 and said[1][1]:
            lines.append(f"{'  as bare text':<20} {said[1][1][0]}")
        if isinstance(event, TERMINAL):
            lines.append("")
    return fenced("text", "\n".join(lines))


# -- routes ------------------------------------------------------------------------------------------------------------

PURPOSE = {
    "/v1/responses/{answer}": "the response as it stands, or its stream; forget it",
    "/v1/responses/{answer}/cancel": "stop the response",
    "/v1/responses/{answer}/input_items": "what was asked in its question",
    "/v1/streams": "`POST` begins a run, `GET` lists yours",
    "/v1/streams/events": "several runs on one SSE: `?streams=` with ids or cursors, separated by commas",
    "/v1/streams/{stream}": "`GET`: state and everything said so far. `DELETE`: cancel; with `?purge=1` drop an ended run",
    "/v1/streams/{stream}/events": "attach or resume, over any HTTP transport, in any dialect; `?wait=` seconds to long-poll",
    "/v1/streams/{stream}/cassette": "a run that has ended as a file that can be played again; see [cassettes](../howto/cassettes.md)",
    "/v1/streams/{stream}/input": "give the source something in mid-run: any JSON",
    "/v1/chat/ui/{chat}/stream": "what runs in a chat: `GET` tells it from its first chunk, `DELETE` cancels it; 204 where nothing does",
    "/v1/models": "the [models](../howto/models.md), as OpenAI and Anthropic list them",
    "/v1/models/{model}": "one of them; its name may hold slashes",
    "/v1/embeddings": "embeddings of an OpenAI-compatible provider; see [embeddings](#embeddings-and-token-counts)",
    "/v1/messages/count_tokens": "how many tokens a question has; see [token counts](#embeddings-and-token-counts)",
    "/v1/responses/input_tokens": "the same, in the words of OpenAI Responses",
    "/metrics": "the figures of the server, as Prometheus reads them; see [the metrics](metrics.md)",
    "/healthz": "200 while the process lives",
    "/readyz": "200 while it wants traffic, 503 while it drains",
}


def default_routes() -> str:
    """The routes of a server without a configuration file."""
    app = build(Config())
    return table(
        ("path", "methods", "transport", "dialect", "`on_disconnect`", "`header_hold`", "options"),
        (
            (
                f"`{route.path}`",
                " ".join(route.methods),
                " ".join(route.transport),
                route.dialect,
                str(route.on_disconnect),
                str(route.header_hold),
                _options_of(app, route.path, route.methods if route.transport != ("websocket",) else ()),
            )
            for route in DEFAULT_ROUTES
        ),
    )


def _options_of(app: App, path: str, methods: Sequence[str]) -> str:
    """The options of a path, said once where all its methods know the same."""
    if not methods:
        return ""
    known = {method: set(options(app, method, path)) for method in methods}
    common = set.intersection(*known.values())
    also = " also" if common else ""
    said = [f"{method}{also} {_code(names - common)}" for method, names in known.items() if names - common]
    return "; ".join([_code(common), *said] if common else said)


def _code(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in sorted(names))


def fixed_routes() -> str:
    """What is served whatever the configuration says, asked from the application itself."""
    app = build(Config())
    own = {route.path for route in app.service.routes} | set(app.service.pages)
    rows = []
    for route in app._router.routes:
        if not isinstance(route, Route) or route.path in own or not isinstance(route.app, Endpoint):
            continue
        methods = [method for method in ("POST", "GET", "HEAD", "DELETE") if method in route.app.methods]
        path = route.path.replace(":path", "")
        known = _options_of(app, path, methods if path.startswith("/v1/") else ())
        rows.append((f"`{path}`", " ".join(methods), known, PURPOSE[path]))
    return table(("path", "methods", "options", "what it does"), rows)


def options(app: App, method: str, path: str) -> list[str]:
    """The options a path knows: what it says when it is asked for one that nobody knows."""
    answer = asyncio.run(asked(app, method, path.replace("{stream}", RUN).replace("{model}", "demo"), b"zzzz=1"))
    message = re.search(r"this route knows ([\w, \[\]]+)", answer)
    if message is None:
        raise LookupError(f"{method} {path} did not say which options it knows: {answer}")
    return [] if message[1] == "none" else message[1].split(", ")


async def asked(app: App, method: str, path: str, query: bytes) -> str:
    """The body of one answer of an ASGI application."""
    pieces: list[bytes] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Message) -> None:
        pieces.append(message.get("body", b""))

    scope = {"type": "http", "method": method, "path": path, "query_string": query, "headers": []}
    await app(scope, receive, send)
    await app.close()
    return b"".join(pieces).decode()


def gap() -> str:
    """What a reader is told whose cursor lies before what is held."""
    (frame,) = registry.resolve("dialects", "native")().gap(1, 12, "trimmed")
    return fenced("json", frame.data.decode())


def media_types() -> str:
    """Which `Accept` asks for which transport."""
    return table(
        ("transport", "`Accept`"),
        ((name, " ".join(f"`{kind}`" for kind in kinds)) for name, kinds in MEDIA_TYPES.items()),
    )


# -- writing -----------------------------------------------------------------------------------------------------------

BLOCKS: dict[str, Callable[[], str]] = {
    "errors of the client": lambda: errors("client"),
    "errors of the provider": lambda: errors("provider"),
    "errors of the server": lambda: errors("server"),
    "states": states,
    "events": vocabulary,
    "fault": fault,
    "gap": gap,
    **{f"dialect {name}": partial(dialect, name) for name in registry.TABLES["dialects"]},
    "default routes": default_routes,
    "fixed routes": fixed_routes,
    "media types": media_types,
    "clients": lambda: table(("client", "asks", "the line that changes", "tested"), clients.rows()),
    "fixed limits": lambda: table(("what", "limit", "there"), limits.fixed()),
}


def block(name: str) -> str:
    """The contents of one block. Raises `KeyError` for a name nobody generates."""
    if name.startswith("file "):
        path = ROOT / name.removeprefix("file ")
        return fenced({"py": "python"}.get(path.suffix[1:], path.suffix[1:]), path.read_text())
    return BLOCKS[name]()


def pages() -> Iterator[tuple[Path, str]]:
    """Every page that holds something generated, and what should stand in it."""
    for name, make in PAGES.items():
        yield DOCS / name, make()
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text()
        if BLOCK.search(text) and str(path.relative_to(DOCS)) not in PAGES:
            yield path, BLOCK.sub(lambda found: f"{found[1]}\n{block(found[2]).rstrip()}\n\n{found[3]}", text)


def main(arguments: list[str]) -> int:
    """Write, or say what would change."""
    if arguments not in ([], ["--check"]):
        sys.stdout.write(f"{__doc__}\n")
        return 2
    stale = [(path, text) for path, text in pages() if not path.exists() or path.read_text() != text]
    for path, text in stale:
        sys.stdout.write(f"{'differs:' if arguments else 'writes'} {path.relative_to(ROOT)}\n")
        if not arguments:
            path.write_text(text)
    return 1 if arguments and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
