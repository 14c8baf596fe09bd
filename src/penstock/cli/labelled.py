"""Requests with the target each should go to, as JSON lines, and what routing makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from penstock.core.errors import Broken, Refused

if TYPE_CHECKING:
    from penstock.catalog import Catalog
    from penstock.core.frame import Dialect


class Labelled(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the file."""

    request: dict[str, object]
    """The body of a chat request, in the words of OpenAI."""
    expect: str | None
    """The target, as clients know it; null where none can do what is asked."""
    name: str = ""
    model: str = ""
    """Instead of the one the request names."""
    hint: str = ""
    """As in the header `Penstock-Route`."""


class Routed(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request goes."""

    name: str
    expected: str | None
    target: str | None
    why: str

    @property
    def right(self) -> bool:
        return self.target == self.expected


class BadLine(ValueError):
    """A line that is no labelled request, or one that no server would take."""


def routed(path: Path, catalog: Catalog, dialect: Dialect) -> Iterator[Routed]:
    """What becomes of each request of a file where every target is well. Raises `BadLine` and `OSError`."""
    lines = [(number, line) for number, line in enumerate(path.read_bytes().splitlines(), 1) if line.strip()]
    if not lines:
        raise BadLine(f"{path}: there is no request in it; write one JSON object a line, with `expect` and `request`")
    for number, line in lines:
        try:
            labelled = msgspec.json.decode(line, type=Labelled)
            yield _routed(labelled, catalog, dialect, labelled.name or f"line {number}")
        except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
            raise BadLine(f"{path}:{number}: {wrong}") from None
        except (Refused, BadLine) as wrong:
            said = wrong.fault.message if isinstance(wrong, Refused) else wrong
            raise BadLine(f"{path}:{number}: {said}") from None


def _routed(labelled: Labelled, catalog: Catalog, dialect: Dialect, name: str) -> Routed:
    from penstock.server.hints import hinted

    request = dialect.parse(msgspec.json.encode(labelled.request))
    model = catalog.model(labelled.model or request.model)
    if (router := catalog.router(model.name)) is None:
        raise BadLine(f"{model.name!r} has one target; there is nothing to choose")
    if labelled.expect is not None and labelled.expect not in router.targets:
        raise BadLine(f"{model.name!r} has no target {labelled.expect!r}; there is {', '.join(router.targets)}")
    request = msgspec.structs.replace(request, model=model.name, hint=hinted(model.hints, labelled.hint))
    try:
        decision = router.decide(request)
    except Broken as none:
        return Routed(name=name, expected=labelled.expect, target=None, why=none.fault.message)
    why = "; ".join([decision.why, *(f"{target} {reason}" for target, reason in decision.left_out.items())])
    return Routed(name=name, expected=labelled.expect, target=decision.targets[0], why=why)
