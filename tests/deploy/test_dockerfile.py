"""The image: its steps taken in a folder, what comes out of them started, and what it is allowed to be."""

import asyncio
import re
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from penstock import __version__
from penstock.config.load import load
from penstock.config.server import ServerConfig
from tests.cli.serving import Served
from tests.deploy.dockerfile import Build, command, context, instructions, last
from tests.tools import ROOT

TEXT = (ROOT / "Dockerfile").read_text()
MiB = 1024 * 1024


def container(built: Build, *words: str) -> subprocess.CompletedProcess[str]:
    """What a container of the image says that is started with these words."""
    entry = [*command(TEXT, "ENTRYPOINT"), *words]
    return subprocess.run(
        ["/usr/bin/env", *entry],
        check=False,
        capture_output=True,
        text=True,
        cwd=built.into,
        env=built.environment(),
    )


@contextmanager
def running(built: Build, folder: Path) -> Iterator[Served]:
    """A container of the image that listens on loopback alone."""
    log = folder / "log"
    environ = built.environment(PENSTOCK_HOST="127.0.0.1", PENSTOCK_PORT="0", PENSTOCK_SERVER__DRAIN="0")
    words = ["/usr/bin/env", *command(TEXT, "ENTRYPOINT"), *command(TEXT, "CMD")]
    with log.open("wb") as writing, subprocess.Popen(words, cwd=folder, env=environ, stderr=writing) as process:
        served = Served(process, log)
        try:
            yield served
            assert served.stop() == 0
        finally:
            if not served.ended:
                process.kill()


def healthy(built: Build, port: int) -> bool:
    words = ["/usr/bin/env", *command(TEXT, "HEALTHCHECK")]
    return (
        subprocess.run(
            words, check=False, env=built.environment(PENSTOCK_PORT=str(port)), stderr=subprocess.DEVNULL
        ).returncode
        == 0
    )


def installed(built: Build) -> set[str]:
    """The packages in the image, beside what every environment has."""
    listing = [str(built.inside("/opt/penstock/bin/python")), "-m", "pip", "list", "--format", "freeze"]
    done = subprocess.run(listing, check=True, capture_output=True, text=True, env=built.environment())
    names = {line.partition("==")[0].lower().replace("_", "-") for line in done.stdout.splitlines()}
    return names - {"pip", "setuptools"}


@pytest.mark.timeout(900)
async def test_the_steps_of_the_image_make_a_server_that_wants_a_key_answers_and_is_found_healthy(
    tmp_path: Path,
) -> None:
    """All of it in one test, since the steps take their time: packages are fetched and installed as for an image."""
    built = Build(ROOT, tmp_path / "build")
    await asyncio.to_thread(built.run)
    locked = re.findall(r"^([a-z0-9.-]+)==", (ROOT / "requirements" / "core.lock").read_text(), re.MULTILINE)
    assert installed(built) - set(locked) == {"penstock"}

    user, group = last(TEXT, "USER").split(":")
    made = built.accounts.read_text()
    assert int(user) > 0
    assert (f"--uid {user}" in made, f"--gid {group}" in made, "--no-create-home" in made) == (True, True, True)

    version = container(built, "version")
    assert (version.returncode, __version__ in version.stdout) == (0, True)
    keyless = container(built, *command(TEXT, "CMD"))
    assert (keyless.returncode, "0.0.0.0" in keyless.stderr, "--insecure" in keyless.stderr) == (1, True, True)

    with running(built, tmp_path) as served:
        await served.ready()
        port = served.port
        assert healthy(built, port)
    assert not healthy(built, port)


def test_the_server_itself_is_told_to_stop_and_the_configuration_is_found_at_one_place() -> None:
    # In the form without a shell, which would keep the signal for itself.
    assert (command(TEXT, "ENTRYPOINT"), command(TEXT, "CMD")) == (["penstock"], ["serve"])
    assert last(TEXT, "STOPSIGNAL") == "SIGTERM"
    assert last(TEXT, "WORKDIR") == "/etc/penstock"
    assert load({}, file=ROOT / "deploy" / "docker" / "penstock.toml").log.format == "json"


def test_every_package_is_installed_from_a_lock_with_hashes() -> None:
    installs = [
        line for each in instructions(TEXT) if each.word == "RUN" for line in each.rest.split("&&") if " pip " in line
    ]
    assert len(installs) == 4
    for line in installs:
        hashed = "--require-hashes --no-deps --requirement requirements/" in line
        assert hashed or "--no-deps --no-build-isolation" in line or "--no-deps --no-index" in line, line


def test_whichever_lock_an_image_is_built_from_the_server_has_what_it_runs_on() -> None:
    names = {
        lock: set(re.findall(r"^([a-z0-9.-]+)==", (ROOT / "requirements" / f"{lock}.lock").read_text(), re.MULTILINE))
        for lock in ("core", "litellm")
    }
    assert names["core"] - names["litellm"] == set()
    assert "litellm" in names["litellm"]


def test_the_base_is_a_python_that_penstock_is_tested_with() -> None:
    (version,) = {each.rest.partition("=")[2] for each in instructions(TEXT) if each.rest.startswith("PYTHON=")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"Programming Language :: Python :: {version}" in project["classifiers"]
    assert [each.rest.partition(" ")[0] for each in instructions(TEXT) if each.word == "FROM"] == [
        "python:${PYTHON}-slim"
    ] * 2


def test_the_context_is_small_and_holds_no_more_than_is_needed() -> None:
    given = context(ROOT)
    names = {path.relative_to(ROOT).parts[0] for path in given}
    assert names == {"pyproject.toml", "README.md", "LICENSE", "requirements", "src"}
    assert [path for path in given if path.suffix == ".pyc"] == []
    assert sum(path.stat().st_size for path in given) < 5 * MiB


def test_compose_wants_a_key_and_gives_the_container_no_more_than_it_needs() -> None:
    service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["penstock"]
    keys = next(line for line in service["environment"] if line.startswith("PENSTOCK_API_KEYS="))
    assert keys.startswith("PENSTOCK_API_KEYS=${PENSTOCK_API_KEYS:?")
    assert (service["read_only"], service["cap_drop"], service["security_opt"]) == (
        True,
        ["ALL"],
        ["no-new-privileges:true"],
    )
    assert service["ports"] == ["127.0.0.1:8420:8420"]
    assert service["volumes"] == [
        {"type": "bind", "source": "./deploy/docker", "target": last(TEXT, "WORKDIR"), "read_only": True}
    ]
    assert int(service["stop_grace_period"].removesuffix("s")) > ServerConfig().drain
    assert service["healthcheck"]["test"][:3] == ["CMD", "python", "-c"]
    compile(service["healthcheck"]["test"][3], "healthcheck", "exec")
