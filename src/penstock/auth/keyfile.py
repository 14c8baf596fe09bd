"""The file of keys: read by a running server as soon as it changes, written by `penstock keys`, whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from penstock.auth.keys import Key

FILE = "penstock-keys.json"
LOOK = 1.0
"""Seconds between two looks at whether the file has changed."""


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: tuple[Key, ...]
    version: int = 1


def read(path: Path) -> dict[str, Key]:
    """The keys of a file by id. Raises `ValueError` with what to do where it cannot be read or others may write to it."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise ValueError(f"others may write to {path}, and so let themselves in; do: chmod 600 {path}")
            document = msgspec.json.decode(file.read(), type=_Document)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}; make it with: penstock keys --file {path} new NAME") from None
    except OSError as wrong:
        raise ValueError(f"{path} cannot be read: {wrong.strerror}") from None
    except msgspec.DecodeError as wrong:
        raise ValueError(f"{path} is no file of keys: {wrong}") from None
    if document.version != 1:
        raise ValueError(f"{path} was written by a newer penstock")
    return {key.id: key for key in document.keys}


@contextlib.contextmanager
def changing(path: Path) -> Iterator[dict[str, Key]]:
    """The keys, to be changed: what is in the dictionary at the end is in the file. One changes it at a time.

    A file that is not there begins empty. Raises `ValueError` as `read`, and `OSError` where it cannot be written.
    """
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        keys = read(path) if path.exists() else {}
        before = dict(keys)
        yield keys
        if keys != before:
            _write(path, keys)
    finally:
        os.close(folder)


def _write(path: Path, keys: Mapping[str, Key]) -> None:
    """Replace the file, readable by its owner alone; after a crash it is the old one or the new one."""
    body = msgspec.json.format(msgspec.json.encode(_Document(tuple(keys.values()))), indent=1)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    new = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(body + b"\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink()
        raise


class KeyFile:
    """The keys of a file, read anew when it has changed; looked at no more than once a second.

    A file that is gone holds no keys. One that cannot be read any more leaves those it held, and `troubled` is told.
    """

    def __init__(
        self,
        path: Path,
        *,
        troubled: Callable[[Exception], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Raises `ValueError` as `read`."""
        self._path = path
        self._troubled = troubled
        self._clock = clock
        self._looked = clock()
        self._mark = self._stat()
        self._keys: Mapping[str, Key] = read(path)

    def keys(self) -> Mapping[str, Key]:
        now = self._clock()
        if now - self._looked >= LOOK:
            self._looked = now
            mark = self._stat()
            if mark != self._mark:
                self._mark = mark
                self._reload()
        return self._keys

    def _reload(self) -> None:
        if self._mark is None:
            self._keys = {}
            return
        try:
            self._keys = read(self._path)
        except ValueError as wrong:
            self._troubled(wrong)

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
