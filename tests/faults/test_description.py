"""schemathesis reads our OpenAPI and asks what it allows, and what it does not: no 5xx, and nothing that was not promised.

What the server answers is held against `protocols/` by schemathesis for status and media type, and by the server fixture for every
body, which knows that a refusal is told in the dialect asked for.
"""

import asyncio
import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from penstock.core.events import Closed, Delta, Event, Finished, Opened, Started
from penstock.core.request import ChatRequest, Run
from tests.chaos import CHAOS
from tests.contract.descriptions import OPENAPI
from tests.serving import MODEL, configured, serving
from tests.tools import venv_python

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance"
SOCKET = "openSocket"
"""A handshake is no request that schemathesis could make."""


async def brief(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
    """An answer that ends at once, whatever was asked."""
    yield Started(run.id, request.model, run.created)
    yield Opened(0, "text")
    yield Delta(0, "yes")
    yield Closed(0)
    yield Finished("stop")


@pytest.mark.needs("schemathesis")
@pytest.mark.timeout(900)
async def test_no_request_that_the_description_allows_or_forbids_breaks_the_server_or_its_promises(
    tmp_path: Path,
) -> None:
    async with serving(configured(), sources={MODEL: brief}) as served:
        fuzzing = await asyncio.create_subprocess_exec(
            str(venv_python("fuzz").with_name("schemathesis")), "run", str(OPENAPI), "--url", served.url,
            "--checks", CHECKS, "--phases", "coverage,fuzzing" if CHAOS else "fuzzing",
            "--max-examples", "200" if CHAOS else "5", "--exclude-operation-id", SOCKET,
            "--continue-on-failure", "--no-shrink", "--no-color", *(() if CHAOS else ("--seed", "7")),
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        said = (await fuzzing.communicate())[0].decode()
        assert (fuzzing.returncode, said if fuzzing.returncode else "") == (0, "")
        assert "Tested: " in said
