"""The HTTP client of the tests, for servers of this machine, which may take as long as they need."""

from typing import Any

import httpx2

from tests.waiting import CEILING


def http_client(base_url: str = "", **options: Any) -> httpx2.AsyncClient:
    """Nothing of the environment is heeded, no proxy either. Without TLS there is nothing to verify: to read this machine's
    certificates for each client takes longer than most tests."""
    plain = {"base_url": base_url, "trust_env": False, "verify": False, "timeout": CEILING}
    return httpx2.AsyncClient(**{**plain, **options})
