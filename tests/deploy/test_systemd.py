"""The unit of systemd: what systemd itself says of it, and what the server tells its manager."""

import asyncio
import configparser
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.config.server import ServerConfig
from tests.cli.serving import starting
from tests.tools import ROOT
from tests.waiting import until

UNIT = ROOT / "deploy" / "systemd" / "penstock.service"


def service() -> dict[str, str]:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return dict(parser["Service"])


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that is there, which systemd insists on."""
    installed = tmp_path / UNIT.name
    installed.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", UNIT.read_text()))
    return installed


@pytest.mark.needs("systemd")
def test_systemd_has_nothing_against_the_unit(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.needs("systemd")
def test_systemd_finds_the_service_well_locked_up(unit: Path) -> None:
    """Its measure goes from 0, nothing is exposed, to 10; `--threshold` is a tenth of that."""
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(unit)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_reload_is_a_signal_and_the_end_waits_for_the_drain() -> None:
    said = service()
    assert said["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert int(said["TimeoutStopSec"]) > ServerConfig().drain
    assert said["ExecStart"].endswith("/penstock serve --config /etc/penstock/penstock.toml")
    assert (said["Type"], said["KillMode"], said["DynamicUser"]) == ("notify", "mixed", "yes")


async def test_the_manager_is_told_when_the_server_listens_and_when_it_goes(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        told: list[str] = []

        async def hears(*lines: str) -> None:
            """Wait until just this was said, times left out."""
            while told != list(lines):
                said = (await asyncio.get_running_loop().sock_recv(manager, 4096)).decode().splitlines()
                told.extend(line for line in said if not line.startswith("MONOTONIC_USEC="))

        with starting(tmp_path, environ={"NOTIFY_SOCKET": str(tmp_path / "notify")}) as served:
            await hears("READY=1")
            assert served.found("listening") != []
            served.process.send_signal(signal.SIGHUP)
            await hears("READY=1", "RELOADING=1", "READY=1")
            served.process.send_signal(signal.SIGTERM)
            await hears("READY=1", "RELOADING=1", "READY=1", "STOPPING=1")
            await until("the process has ended", lambda: served.ended)


async def test_a_manager_that_does_not_listen_is_no_reason_to_fail(tmp_path: Path) -> None:
    with starting(tmp_path, environ={"NOTIFY_SOCKET": str(tmp_path / "nobody")}) as served:
        await served.ready()
