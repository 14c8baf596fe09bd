"""Where a provider is: the URLs that follow from its base URL, and the proxy on the way."""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def url_of(base_url: str, root: str, path: str) -> str:
    """Where to post: `https://host` gets the root, any other path is used as it is. Where the root is empty, the protocol's paths
    say their `/v1` themselves, or nothing of the kind: a base URL that ends in `/v1` then means the same as one without it.
    Raises `ValueError`."""
    parts = urlsplit(base_url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError(f"base_url must be like https://host/v1, not {base_url!r}")
    own = parts.path.rstrip("/")
    below = (own or root) if root else own.removesuffix("/v1")
    return parts._replace(path=below + path, fragment="").geturl()


def proxy_of(scheme: str, host: str) -> str | None:
    """The proxy the environment names for a host, once, since asking aiohttp to trust the environment costs every request a
    look into files. The machine itself is never behind a proxy. Raises `ValueError` where the proxy speaks no HTTP."""
    proxy = getproxies().get(scheme)
    if not proxy or host in LOOPBACK or proxy_bypass(host):
        return None
    if urlsplit(proxy).scheme not in ("http", "https"):
        raise ValueError(f"{scheme}_proxy must be an http:// address; set no_proxy={host} to go without")
    return proxy
