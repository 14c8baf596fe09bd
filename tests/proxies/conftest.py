"""One penstock, and every proxy that is tried in front of it: as documented, and nginx as it comes."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from penstock.config.units import Seconds
from tests.proxies.running import Front, documented, nginx
from tests.serving import Served, configured, serving

PLAIN = """
    server {{
        listen 127.0.0.1:PORT;
        {more}
        location / {{ proxy_pass http://127.0.0.1:{port}; }}
    }}
"""
"""nginx with nothing set but where to listen and where to ask."""

GZIP = "gzip on; gzip_types *; gzip_proxied any; gzip_min_length 0;"

FRONTS: dict[str, Callable[[int], AbstractAsyncContextManager[Front]]] = {
    "nginx": lambda port: documented("nginx", port),
    "caddy": lambda port: documented("caddy", port),
    "haproxy": lambda port: documented("haproxy", port),
    "nginx as it comes": lambda port: nginx(PLAIN.format(port=port, more="")),
    "nginx that compresses": lambda port: nginx(PLAIN.format(port=port, more=GZIP)),
}


def fronts(*names: str) -> pytest.MarkDecorator:
    """Run a test behind each of these proxies."""
    marked = [pytest.param(name, marks=pytest.mark.needs(name.split()[0])) for name in names]
    return pytest.mark.parametrize("front", marked, indirect=True)


@pytest.fixture
async def served() -> AsyncGenerator[Served]:
    routes = {"/v1/chat/chunked": {"header_hold": Seconds(0)}}
    async with serving(configured(routes=routes)) as server:
        yield server


@pytest.fixture
async def front(request: pytest.FixtureRequest, served: Served) -> AsyncGenerator[Front]:
    """A running proxy before `served`, of the kind the test names."""
    async with FRONTS[request.param](served.port) as running:
        yield running
