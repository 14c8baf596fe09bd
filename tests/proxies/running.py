"""Real nginx, Caddy and HAProxy in front of a port of this machine, with the very files of `deploy/` or with a test's own lines.

The files are taken as they are but for what no two machines share: the public name and port, the certificate, and where
penstock listens. A replacement that finds nothing fails.
"""

import asyncio
import os
import re
import socket
import ssl
import subprocess
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import httpx2
import trustme

from tests.loopback import http_client
from tests.tools import ROOT, proxy
from tests.waiting import until

DEPLOY = ROOT / "deploy"
Kind = Literal["nginx", "caddy", "haproxy"]
UPSTREAM, NAME = "127.0.0.1:8420", "llm.example.org"

NGINX = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events {{ }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    {http}
}}
"""
"""What a distribution's nginx.conf holds, with every file in the test's own folder."""

CADDY = """{{
	admin off
	auto_https off
	storage file_system {folder}
}}

"""
"""No certificate is fetched, no port but the test's own is opened."""


class Certificate:
    """A certificate for this machine, and the authority that a client must trust for it."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        leaf = authority.issue_cert("127.0.0.1", "localhost")
        self.chain, self.key, self.both = folder / "chain.pem", folder / "key.pem", folder / "both.pem"
        self.authority = folder / "authority.pem"
        for blob in leaf.cert_chain_pems:
            blob.write_to_path(str(self.chain), append=True)
        leaf.private_key_pem.write_to_path(str(self.key))
        leaf.private_key_and_cert_chain_pem.write_to_path(str(self.both))
        authority.cert_pem.write_to_path(str(self.authority))

    @property
    def trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority))


@dataclass(frozen=True)
class Front:
    """A running proxy: where it is for the world. Behind https the `certificate` says whom to trust."""

    kind: Kind
    port: int
    certificate: Certificate | None = None
    path: str = ""

    @property
    def url(self) -> str:
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}{self.path}"

    @property
    def ws_url(self) -> str:
        return f"ws{self.url.removeprefix('http')}/v1/chat/ws"

    @property
    def tls(self) -> ssl.SSLContext | None:
        return self.certificate.trusted if self.certificate else None

    @property
    def curl(self) -> tuple[str, ...]:
        """Options that make curl trust it."""
        return ("--cacert", str(self.certificate.authority)) if self.certificate else ()

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[httpx2.AsyncClient]:
        """A client as a browser is one: it accepts compressed answers."""
        headers = {"accept-encoding": "gzip, deflate, br"}
        async with http_client(self.url, verify=self.tls or False, headers=headers) as client:
            yield client


@contextmanager
def reserved() -> Iterator[int]:
    """A port that the system gives to nobody else meanwhile: it is bound, and whoever listens may share it (SO_REUSEADDR)."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@asynccontextmanager
async def started(command: Sequence[str | Path], port: int, folder: Path) -> AsyncGenerator[None]:
    """Run a proxy until the end of the block; its own words are the reason where it does not listen."""
    environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    log = folder / "log"
    with log.open("wb") as writing:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, env=environment, stdout=writing, stderr=writing
        )
    ended = asyncio.ensure_future(process.wait())
    try:
        await until("the proxy listens or has ended", lambda: ended.done() or _listens(port))
        assert not ended.done(), log.read_text()
        yield
        assert not ended.done(), log.read_text()
    finally:
        if not ended.done():
            process.terminate()
        await ended


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def replaced(text: str, replacements: dict[str, str]) -> str:
    """The text with every one of these replaced wherever it stands. Fails where one does not."""
    for old, new in replacements.items():
        assert old in text, f"{old!r} does not stand in the configuration"
        text = text.replace(old, new)
    return text


@asynccontextmanager
async def nginx(http: str) -> AsyncGenerator[Front]:
    """nginx with these lines in its `http` block; `PORT` stands for the port it listens on."""
    with TemporaryDirectory() as name, reserved() as port:
        folder = Path(name)
        async with started(_command("nginx", folder, http.replace("PORT", str(port))), port, folder):
            yield Front("nginx", port)


@asynccontextmanager
async def caddy(upstream: int, *lines: str) -> AsyncGenerator[Front]:
    """Caddy without TLS, with these lines in its `reverse_proxy` block."""
    with TemporaryDirectory() as name, reserved() as port:
        folder, said = Path(name), "\n".join(lines)
        site = f"http://127.0.0.1:{port} {{\nbind 127.0.0.1\nreverse_proxy 127.0.0.1:{upstream} {{\n{said}\n}}\n}}\n"
        async with started(_command("caddy", folder, site), port, folder):
            yield Front("caddy", port)


@asynccontextmanager
async def documented(kind: Kind, upstream: int, *, prefix: bool = False) -> AsyncGenerator[Front]:
    """A proxy as `deploy/` configures it, with TLS, in front of the port `upstream`; with `prefix`, below `/llm`."""
    with TemporaryDirectory() as name, reserved() as port:
        folder = Path(name)
        certificate = Certificate(folder)
        write = _prefixed if prefix else _whole
        text = replaced(write(kind, certificate, port), {UPSTREAM: f"127.0.0.1:{upstream}"})
        async with started(_command(kind, folder, text), port, folder):
            yield Front(kind, port, certificate, path="/llm" if prefix else "")


def _whole(kind: Kind, certificate: Certificate, port: int) -> str:
    """The file of `deploy/` that is a whole configuration."""
    match kind:
        case "nginx":
            mine = {
                "listen 443": f"listen 127.0.0.1:{port}",
                f"/etc/ssl/{NAME}/fullchain.pem": str(certificate.chain),
                f"/etc/ssl/{NAME}/privkey.pem": str(certificate.key),
            }
            return replaced((DEPLOY / "nginx/penstock.conf").read_text(), mine)
        case "caddy":
            return replaced((DEPLOY / "caddy/Caddyfile").read_text(), _caddy_site(certificate, port))
        case "haproxy":
            mine = {"bind :443": f"bind 127.0.0.1:{port}", f"/etc/haproxy/{NAME}.pem": str(certificate.both)}
            return replaced((DEPLOY / "haproxy/haproxy.cfg").read_text(), mine)


def _prefixed(kind: Kind, certificate: Certificate, port: int) -> str:
    """The file of `deploy/` for a part of a site, in a site that has nothing else."""
    match kind:
        case "nginx":
            tls = f"ssl_certificate {certificate.chain}; ssl_certificate_key {certificate.key};"
            inside = (DEPLOY / "nginx/prefix.conf").read_text()
            return f"server {{ listen 127.0.0.1:{port} ssl; {tls}\n{inside}}}"
        case "caddy":
            return replaced((DEPLOY / "caddy/prefix.Caddyfile").read_text(), _caddy_site(certificate, port))
        case "haproxy":
            whole, _, _ = _whole(kind, certificate, port).partition("    default_backend")
            return f"{whole}    use_backend penstock if {{ path_beg /llm/ }}\n{(DEPLOY / 'haproxy/prefix.cfg').read_text()}"


def _caddy_site(certificate: Certificate, port: int) -> dict[str, str]:
    opening = f"https://127.0.0.1:{port} {{\n\tbind 127.0.0.1\n\ttls {certificate.chain} {certificate.key}"
    return {f"{NAME} {{": opening}


def _command(kind: Kind, folder: Path, text: str) -> list[str | Path]:
    """Write a configuration into the folder; the command that runs the proxy with it."""
    file = folder / "configuration"
    match kind:
        case "nginx":
            file.write_text(NGINX.format(http=text))
            return [_binary("nginx"), "-p", folder, "-e", "stderr", "-c", file]
        case "caddy":
            file.write_text(CADDY.format(folder=folder) + text)
            return [_binary("caddy"), "run", "--config", file, "--adapter", "caddyfile"]
        case "haproxy":
            file.write_text(text)
            return [_binary("haproxy"), "-db", "-f", file]


def _binary(name: str) -> Path:
    found = proxy(name)
    assert found is not None
    return found


@cache
def version(kind: Kind) -> tuple[int, ...]:
    """The version of the installed proxy."""
    said = subprocess.run([_binary(kind), "version" if kind == "caddy" else "-v"], check=True, capture_output=True)
    found = re.search(rb"(\d+)\.(\d+)\.(\d+)", said.stdout + said.stderr)
    assert found is not None
    return tuple(int(number) for number in found.groups())
