"""How much memory there may be, and how much is used: by the container's control group, or by a limit of the configuration.

Control groups, version 2 (kernel: Documentation/admin-guide/cgroup-v2.rst, "Memory Interface Files") and version 1
(cgroup-v1/memory.rst). What counts is the working set, as Kubernetes has it: without the page cache that the kernel can take back.
"""

from __future__ import annotations

import ctypes
import gc
import resource
from collections.abc import Iterator
from pathlib import Path

import msgspec

from penstock.flow.memory import Memory

UNLIMITED = 1 << 60
"""Version 1 writes a number near 2^63 where there is no limit."""

PROC = Path("/proc/self")
GROUPS = Path("/sys/fs/cgroup")


def bounded(most: int = 0, *, proc: Path = PROC, groups: Path = GROUPS) -> Memory | None:
    """The limit that holds for this process: `most` bytes resident where it is given, else its control group's, if it has one."""
    if most:
        return Resident(most, proc)
    limits = [(limit, group) for group in _groups(proc, groups) if (limit := group.limit()) is not None]
    return min(limits, key=lambda found: found[0])[1] if limits else None


class _Releasing:
    def release(self) -> None:
        gc.collect()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
        if trim is not None:
            trim(0)


class Resident(_Releasing):
    """This process's resident memory, under a limit of the configuration."""

    def __init__(self, most: int, proc: Path = PROC):
        self._most = most
        self._statm = proc / "statm"
        self._page = resource.getpagesize()

    def reading(self) -> tuple[int, int]:
        return int(self._statm.read_text().split()[1]) * self._page, self._most


class _Files(msgspec.Struct, frozen=True):
    """What the files of one version are called."""

    limit: str
    usage: str
    cache: str
    """The key in `memory.stat`."""


V2 = _Files("memory.max", "memory.current", "inactive_file")
V1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


class Group(_Releasing):
    """One control group: this process and whatever else is in it."""

    def __init__(self, folder: Path, files: _Files):
        self._folder = folder
        self._files = files

    def limit(self) -> int | None:
        """Bytes; None where there is none, or no such group."""
        try:
            text = (self._folder / self._files.limit).read_text().strip()
        except OSError:
            return None
        return int(text) if text.isdecimal() and int(text) < UNLIMITED else None

    def reading(self) -> tuple[int, int]:
        """An operator may change or lift the limit while the server runs."""
        usage = int((self._folder / self._files.usage).read_text())
        return max(0, usage - self._cached()), self.limit() or UNLIMITED

    def _cached(self) -> int:
        for line in (self._folder / "memory.stat").read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == self._files.cache:
                return int(value)
        return 0


def _groups(proc: Path, groups: Path) -> Iterator[Group]:
    """The group of this process and those above it, each of which may have a limit."""
    try:
        lines = (proc / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, files = groups, V2
        elif "memory" in controllers.split(","):
            root, files = groups / "memory", V1
        else:
            continue
        # Inside a container the path may be that of the host, and what is mounted the container's own group.
        inner = root / path.lstrip("/")
        folder = inner if inner.exists() else root
        while True:
            yield Group(folder, files)
            if folder == root:
                break
            folder = folder.parent
