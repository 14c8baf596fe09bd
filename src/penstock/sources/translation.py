"""What every translation out of the words of OpenAI chat needs: refusing by name, leaving hints out by name, reading URLs of data.

A field of the request is translated, or goes upstream as it is, or is left out because it changes no answer (and the client
is told), or is refused before anything is asked. There is no fifth way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from penstock.core.carried import boxed, not_carried
from penstock.core.errors import Broken
from penstock.core.events import Json

Object = dict[str, Json]

HINTS = frozenset(
    {"metadata", "prediction", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "store", "user"}
)
"""Fields of OpenAI chat for its own books and caches: an answer is the same without them."""
CONSUMED = frozenset({"model", "stream", "stream_options"})
"""Fields whose say is penstock's own."""
SILENT: Mapping[str, tuple[Json, ...]] = {
    "audio": (),
    "frequency_penalty": (0,),
    "function_call": (),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "presence_penalty": (0,),
    "seed": (),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
    "web_search_options": (),
}
"""Fields of OpenAI chat that few other protocols have words for, and the values that say nothing beside `null`."""


MEMBERS = frozenset({"cache_control", "caller", "citations"})
"""What Anthropic's messages, parts, calls and tools have beside what they say: an answer is the same without it."""


OPENAI = "api.openai.com"
"""The host of OpenAI itself, which is stricter than those that speak its protocols."""


class Translation:
    """One request on its way into another protocol: whom it is for, and what it had to leave behind."""

    __slots__ = ("host", "left_out")

    def __init__(self, host: str, left_out: Iterable[str] = ()):
        self.host = host
        self.left_out = dict.fromkeys(left_out)
        """In their order; a dictionary, since a client may send a hundred thousand of them."""

    def leave(self, field: str) -> None:
        """A hint that the other protocol lacks."""
        self.left_out[field] = None

    def refusal(self, what: str, param: str) -> Broken:
        """Something that has an effect, and that the other protocol lacks."""
        return not_carried(self.host, what, param)

    def settle(self, name: str, value: Json) -> bool:
        """Whether a field is done with: it says nothing, it is ours, or it is a hint. Raises `Broken` for what cannot be said."""
        if name in CONSUMED:
            return True
        if name in HINTS:
            if value is not None:
                self.leave(name)
            return True
        if name not in SILENT:
            return False
        if value is not None and value not in SILENT[name]:
            raise self.refusal(name, name)
        return True

    def forbid(self, message: Object, where: str, *members: str) -> None:
        """Raises `Broken` where a message has one of the members."""
        for member in members:
            if message.get(member) is not None:
                raise self.refusal(f"{member} of a message", f"{where}.{member}")

    def arguments(self, call: Object, where: str) -> Json:
        """The arguments of a tool call as a value. Raises `Broken` where they are no JSON object."""
        function = object_of(call.get("function"))
        stated = function.get("arguments")
        if not isinstance(stated, str):
            return stated or {}
        try:
            arguments: Json = msgspec.json.decode(stated) if stated.strip() else {}
        except (ValueError, RecursionError):
            arguments = None
        if not isinstance(arguments, dict):
            raise Broken(
                "not_carried",
                f"the arguments of the call to {function.get('name')!r} are no JSON object, and {self.host} takes nothing else",
                param=f"{where}.function.arguments",
            )
        return arguments


def without_hints(value: Object, left_out: list[str]) -> Object:
    """An object, and the objects in its lists, without `MEMBERS`, whose names are added to `left_out`. What is in a box, a
    schema or an argument is not looked into."""
    for name in MEMBERS & value.keys():
        if value[name] is not None and name not in left_out:
            left_out.append(name)
    return {name: lists_without(told, left_out) for name, told in value.items() if name not in MEMBERS}


def lists_without(value: Json, left_out: list[str]) -> Json:
    """The same for the objects of a list; anything else as it is."""
    if not isinstance(value, list):
        return value
    return [without_hints(one, left_out) if isinstance(one, dict) and boxed(one) is None else one for one in value]


def object_of(value: Json) -> Object:
    """An object, or an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def parts_of(content: Json) -> list[Json]:
    """The parts of a message's content, whichever way it was written. No part says nothing."""
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


def rest_of(value: Object, *known: str) -> Object:
    """The members beside the known ones, without those that are null."""
    return {name: member for name, member in value.items() if name not in known and member is not None}


def data_of(url: str) -> tuple[str, str] | None:
    """Media type and base64 text of a `data:` URL (RFC 2397); None for any other URL, and for one that is not base64."""
    head, comma, data = url.partition(",")
    scheme, _, described = head.partition(":")
    media_type, *parameters = described.split(";")
    if scheme.lower() != "data" or not comma or "base64" not in parameters:
        return None
    return media_type.lower(), data


def is_data(url: str) -> bool:
    """Whether a URL holds its data itself."""
    return url[:5].lower() == "data:"
