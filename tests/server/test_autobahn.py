"""Autobahn's fuzzing client against our WebSocket protocol, behind which an application says again what it hears."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from penstock.config.units import Bytes
from penstock.server.exchange import EXTENSION
from tests.serving import configured, serving
from tests.tools import wstest

CASES = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.1.*", "9.2.*", "9.3.*", "9.4.*", "10.*"]
TOO_LARGE = ["9.1.4", "9.1.5", "9.1.6", "9.2.4", "9.2.5", "9.2.6", "9.3.*", "9.4.*"]
"""Messages of a MiB and more: they say again what is said of those of 256 KiB, and take minutes."""


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """An application of one line."""
    await receive()
    scope["extensions"][EXTENSION].authenticated()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})


@pytest.mark.needs("autobahn")
@pytest.mark.timeout(600)
async def test_autobahn_finds_nothing_wrong(tmp_path: Path) -> None:
    async with serving(configured(max_body=Bytes(16 * 2**20))) as served:
        config: Any = served.host.config
        config.loaded_app = echo
        spec = {
            "outdir": str(tmp_path / "reports"),
            "servers": [{"agent": "penstock", "url": f"ws://127.0.0.1:{served.port}"}],
            "cases": CASES,
            "exclude-cases": TOO_LARGE,
        }
        (tmp_path / "spec.json").write_text(json.dumps(spec))
        command = [*wstest(), "-m", "fuzzingclient", "-s", "spec.json"]
        fuzzing = await asyncio.create_subprocess_exec(
            *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await fuzzing.communicate()
        assert fuzzing.returncode == 0, said.decode()[-2000:]
        cases = json.loads((tmp_path / "reports" / "index.json").read_text())["penstock"]
        assert len(cases) > 200
        wrong = {
            case: (told["behavior"], told["behaviorClose"])
            for case, told in cases.items()
            if {told["behavior"], told["behaviorClose"]} - {"OK", "NON-STRICT", "INFORMATIONAL"}
        }
        assert wrong == {}
        assert served.seen.troubles == []
