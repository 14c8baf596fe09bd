"""The servers that are measured: how each is started, asked, and what it needs to be there."""

from __future__ import annotations

import shutil
import sys
import tomllib
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[1]
SOURCE = "benchmarks.source:feed"
CHAT_BODY = '{"model":"%s","stream":true,"messages":[{"role":"user","content":"{order}"}]}'
NATIVE_BODY = '{"model":"openai/mock","messages":[{"role":"user","content":"{order}"}]}'
SOCKET_BODY = '{"type":"start","ref":"{ref}","request":' + NATIVE_BODY + "}"


AT_ONCE = {"PENSTOCK_SERVER__DRAIN": "0"}
"""Nobody waits for a server whose measurement is over."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """`{port}`, `{upstream}` (address:port) and `{dir}` (an empty folder of its own) are filled in where they stand
    in `command`, `env`, `url`, `headers` and `files`. Without a `command` the load goes straight to the upstream."""

    name: str
    url: str
    command: list[str] = []
    install: str = ""
    """The one command that installs it, said when its program is missing."""
    env: dict[str, str] = {}
    headers: list[str] = []
    body: str = CHAT_BODY % "openai/mock"
    end: str = "[DONE]"
    """What a whole answer's last bytes hold; empty: the body's clean end is all there is."""
    files: dict[str, str] = {}
    """Name in `{dir}` → template of its content."""
    announces: str = ""
    """For a server that takes no port: what it prints, as a regular expression whose group is the port it chose."""

    @property
    def program(self) -> str | None:
        return shutil.which(self.command[0], path=_PATH) if self.command else None

    @property
    def missing(self) -> bool:
        return bool(self.command) and self.program is None


_BIN = Path(sys.executable).parent
# nginx lives where only root's PATH looks.
_PATH = f"{_BIN}:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


def _penstock(name: str, *, path: str, body: str, end: str, accept: str = "", scheme: str = "http") -> Server:
    return Server(
        name=name,
        url=f"{scheme}://127.0.0.1:{{port}}{path}",
        command=[str(_BIN / "penstock"), "serve", "--port", "{port}"],
        install="make install",
        env={"OPENAI_BASE_URL": "http://{upstream}/v1", "OPENAI_API_KEY": "sk-bench", **AT_ONCE},
        headers=[f"Accept: {accept}"] if accept else [],
        body=body,
        end=end,
    )


DIRECT = Server(name="direct", url="http://{upstream}/v1/chat/completions")
NGINX = Server(
    name="nginx",
    url="http://127.0.0.1:{port}/v1/chat/completions",
    command=["nginx", "-p", "{dir}", "-c", "{dir}/nginx.conf"],
    install="apt-get install nginx-light",
    files={"nginx.conf": (Path(__file__).parent / "nginx.conf").read_text()},
)
PENSTOCK = _penstock("penstock", path="/v1/chat/completions", body=CHAT_BODY % "openai/mock", end="[DONE]")

# The same server, asked on its other transports.
TRANSPORTS = [
    _penstock(
        "penstock-sse", path="/v1/streams", body=NATIVE_BODY, end='"type":"finished"', accept="text/event-stream"
    ),
    _penstock("penstock-ws", path="/v1/chat/ws", body=SOCKET_BODY, end="", scheme="ws"),
    _penstock(
        "penstock-ndjson",
        path="/v1/chat/chunked",
        body=NATIVE_BODY,
        end='"type":"finished"',
        accept="application/x-ndjson",
    ),
    _penstock("penstock-text", path="/v1/chat/chunked", body=NATIVE_BODY, end="", accept="text/plain"),
]


# The same server with its tokens made in its own process: no provider's socket, so each stream is one connection.
_FEED_BODY = '{"messages":[{"role":"user","content":"{order}"}]}'


def in_process(name: str, server: Server) -> Server:
    """`server`, one of `TRANSPORTS`, with the in-process source as its model."""
    return msgspec.structs.replace(
        server,
        name=name,
        command=[*server.command, "--model", SOURCE],
        env={"PYTHONPATH": str(ROOT), **AT_ONCE},
        body=server.body.replace(NATIVE_BODY, _FEED_BODY),
    )


def known(peers: Path | None) -> dict[str, Server]:
    """All servers by name; `peers` is a TOML file of further ones, a `[[server]]` table each with the fields of `Server`.

    Raises `msgspec.ValidationError` or `tomllib.TOMLDecodeError` for a file that is not so.
    """
    more = msgspec.convert(tomllib.loads(peers.read_text())["server"], list[Server]) if peers else []
    return {server.name: server for server in [DIRECT, NGINX, PENSTOCK, *TRANSPORTS, *more]}
