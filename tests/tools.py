"""The programs and environments the tests need beside their own Python: where each is, and the one command that brings it.

`python -m tests.tools` brings what is missing from the system's packages where it may (root on Debian or Ubuntu) and
names the command where it may not. The environments of other Pythons and the Node clients come from `make test-tools`.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
NODE_CLIENTS = ROOT / "tests" / "live" / "node"
POLICY = Path("/usr/sbin/policy-rc.d")


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One thing a test may need; `packages` are what is still missing of it on Debian, `remedy` the command elsewhere."""

    name: str
    found: Callable[[], bool]
    packages: Callable[[], tuple[str, ...]] = tuple
    remedy: str = "make test-tools"
    granted: bool = False
    """It is the machine's to allow, and nothing brings it to one that does not: there a strict session goes without."""

    def command(self) -> str:
        """The one command that brings this tool to this machine."""
        packages = self.packages() if shutil.which("apt-get") else ()
        if packages:
            return "sudo apt-get install -y --no-install-recommends " + " ".join(packages)
        return self.remedy


def venv_python(name: str) -> Path:
    """The interpreter of the side environment `.venvs/NAME` (openai2, terminal, langchain …), which may not exist yet."""
    return ROOT / ".venvs" / name / "bin" / "python"


def venv_ready(name: str) -> bool:
    """Whether `.venvs/NAME` was made to the end, from its lock."""
    return (ROOT / ".venvs" / name / ".ready").exists()


def chromium() -> Path | None:
    """A Chromium or Chrome: the system's, or one that Playwright has fetched."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if path := shutil.which(name):
            return Path(path)
    if sys.platform == "darwin":
        cache, inside = "Library/Caches/ms-playwright", "chrome-mac*/*.app/Contents/MacOS/*"
        candidates = [Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")]
    else:
        cache, inside = ".cache/ms-playwright", "chrome-linux*/chrome"
        candidates = []
    fetched = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH", Path.home() / cache))
    candidates.extend(sorted(fetched.glob(f"chromium-*/{inside}"), reverse=True))
    return next((path for path in candidates if os.access(path, os.X_OK)), None)


def proxy(name: str) -> Path | None:
    """The binary of nginx, caddy or haproxy; Debian keeps some of them where only root's PATH looks."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    return Path(path) if path else None


@cache
def _namespaces() -> bool:
    """Whether this machine lets us have a network namespace of our own, and cut its loopback."""
    command = ["unshare", "--map-root-user", "--net", "ip", "link", "set", "lo", "up"]
    return (
        all(map(shutil.which, ("unshare", "ip")))
        and subprocess.run(command, check=False, capture_output=True).returncode == 0
    )


def libfaketime() -> Path | None:
    """The library that tells a process another time; Debian keeps it in a folder of its own."""
    return next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)


@cache
def cgroup() -> Path | None:
    """The memory control group this process is in, where groups with a limit can be made below it."""
    root = Path("/sys/fs/cgroup")
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    for _, controllers, path in (line.split(":", 2) for line in lines):
        version_1 = "memory" in controllers.split(",")
        if not version_1 and controllers:
            continue
        inner = (root / "memory" if version_1 else root) / path.lstrip("/")
        probe = inner / f"penstock-probe-{os.getpid()}"
        try:
            probe.mkdir()
        except OSError:
            continue
        try:
            limited = any((probe / name).exists() for name in ("memory.max", "memory.limit_in_bytes"))
        finally:
            probe.rmdir()
        if limited:
            return inner
    return None


AUTOBAHN = ROOT / ".venvs" / "autobahn"
"""Where Autobahn's test suite is, which runs on Python 2.7 alone."""


def wstest() -> tuple[str, ...]:
    """The command that runs it."""
    program = f"import site; site.addsitedir({str(AUTOBAHN)!r}); from autobahntestsuite.wstest import run; run()"
    return ((AUTOBAHN / "python").read_text().strip(), "-c", program)


def _node_ready() -> bool:
    return shutil.which("node") is not None and (NODE_CLIENTS / "node_modules" / ".package-lock.json").exists()


def _chromium_packages() -> tuple[str, ...]:
    # Ubuntu's package of that name is an empty shell around a snap, which Playwright cannot drive.
    return () if chromium() or _distribution() == "ubuntu" else ("chromium",)


def _node_packages() -> tuple[str, ...]:
    # A vendor's nodejs package brings npm along, Debian's does not.
    if shutil.which("npm"):
        return ()
    return ("npm",) if shutil.which("node") else ("nodejs", "npm")


def _program_packages(program: str, package: str) -> Callable[[], tuple[str, ...]]:
    return lambda: () if shutil.which(program) else (package,)


def _proxy_found(name: str) -> bool:
    return proxy(name) is not None


def _proxy_packages(name: str, package: str) -> tuple[str, ...]:
    return () if proxy(name) else (package,)


def _distribution() -> str:
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except FileNotFoundError:
        return sys.platform
    return next((line.removeprefix("ID=").strip('"') for line in lines if line.startswith("ID=")), sys.platform)


TOOLS = {
    tool.name: tool
    for tool in (
        Tool(
            name="chromium",
            found=lambda: chromium() is not None,
            packages=_chromium_packages,
            remedy=".venv/bin/python -m playwright install --with-deps chromium",
        ),
        *(
            Tool(
                name=name,
                found=partial(_proxy_found, name),
                packages=partial(_proxy_packages, name, package),
                remedy=f"brew install {name}",
            )
            for name, package in (("nginx", "nginx-light"), ("caddy", "caddy"), ("haproxy", "haproxy"))
        ),
        Tool(
            name="slowhttptest",
            found=lambda: shutil.which("slowhttptest") is not None,
            packages=_program_packages("slowhttptest", "slowhttptest"),
            remedy="brew install slowhttptest",
        ),
        Tool(
            name="autobahn",
            found=lambda: venv_ready("autobahn"),
            remedy="make test-tools, on a machine with Python 2.7 (Linux, x86-64)",
            granted=True,
        ),
        Tool(
            name="curl",
            found=lambda: shutil.which("curl") is not None,
            packages=_program_packages("curl", "curl"),
            remedy="brew install curl",
        ),
        Tool(
            name="git",
            found=lambda: shutil.which("git") is not None and (ROOT / ".git").exists(),
            packages=_program_packages("git", "git"),
            remedy="git clone",
        ),
        Tool(
            name="cc",
            found=lambda: shutil.which("cc") is not None,
            packages=lambda: () if shutil.which("cc") else ("gcc", "libc6-dev"),
            remedy="xcode-select --install",
        ),
        Tool(
            name="namespaces",
            found=_namespaces,
            packages=_program_packages("ip", "iproute2"),
            remedy="a machine that grants network namespaces (unshare --map-root-user --net)",
            granted=True,
        ),
        Tool(
            name="cgroup",
            found=lambda: cgroup() is not None,
            remedy="a machine that grants memory control groups (root, and /sys/fs/cgroup writable)",
            granted=True,
        ),
        Tool(
            name="faketime",
            found=lambda: libfaketime() is not None,
            packages=lambda: () if libfaketime() or sys.platform == "darwin" else ("faketime",),
            remedy="a Linux with libfaketime",
        ),
        Tool(
            name="systemd",
            found=lambda: shutil.which("systemd-analyze") is not None,
            packages=_program_packages("systemd-analyze", "systemd"),
            remedy="a Linux with systemd",
        ),
        Tool(
            name="node",
            found=_node_ready,
            packages=_node_packages,
            remedy="make test-tools" if shutil.which("npm") else "brew install node",
        ),
        *(Tool(name=name, found=partial(venv_ready, name)) for name in ("openai2", "terminal", "litellm", "llama")),
        *(
            Tool(name=name, found=partial(venv_ready, name), remedy="make test-clients")
            for name in ("langchain", "llamaindex", "aider")
        ),
        Tool(name="schemathesis", found=lambda: venv_ready("fuzz")),
    )
}


@contextmanager
def _nothing_starts() -> Iterator[None]:
    """Debian starts a service when it installs one; the tests start their own proxies on ports of their own."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def _apt_get(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(["apt-get", "-qq", *arguments], check=False, env=environment, capture_output=True, text=True)


def _install(packages: Iterable[str]) -> bool:
    install = ("install", "-y", "--no-install-recommends", *packages)
    with _nothing_starts():
        done = _apt_get(*install)
        if done.returncode != 0:
            # The package lists of a fresh machine are empty, those of an old one out of date: fetch them and ask again.
            _apt_get("update")
            done = _apt_get(*install)
    sys.stderr.write(done.stderr if done.returncode else "")
    return done.returncode == 0


def bring() -> None:
    """Install what is missing and may be installed; say how to bring the rest. Missing tools are no error here."""
    packages = sorted({package for tool in TOOLS.values() for package in tool.packages()})
    if packages and shutil.which("apt-get"):
        command = "apt-get install -y --no-install-recommends " + " ".join(packages)
        if os.geteuid() == 0:
            sys.stdout.write(f"installing for the tests: {' '.join(packages)}\n")
            sys.stdout.flush()
            if not _install(packages):
                sys.stdout.write(f"that failed; by hand: {command}\n")
        else:
            sys.stdout.write(f"some tests will be skipped until: sudo {command}\n")


if __name__ == "__main__":
    bring()
