"""Images, sound and files within a request: none larger than the server takes, and their base64 is base64.

They are looked at where every dialect has put them, in the canonical request; what is at fault is named as the client spells it.
What stands behind a URL, or in a box of one protocol, is its provider's to judge.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterator

from penstock.core.errors import Refused
from penstock.core.request import ChatRequest, Message


def reading(parse: Callable[[bytes], ChatRequest], most: int) -> Callable[[bytes], ChatRequest]:
    """`parse`, and then a look at the media: each may have `most` characters in base64. Raises `Refused`."""

    def read(body: bytes) -> ChatRequest:
        request = parse(body)
        for index, message in enumerate(request.messages):
            for place, data in _media(message):
                _check(data, most, request.spelled(f"messages[{index}].content[{place}]"))
        return request

    return read


def _check(data: str, most: int, where: str) -> None:
    if len(data) > most:
        raise Refused(
            "body_too_large",
            f"'{where}' has {len(data)} characters of base64; this server takes {most}: send less, or a URL",
            param=where,
        )
    try:
        binascii.a2b_base64(data, strict_mode=True)
    except ValueError:
        try:
            binascii.a2b_base64("".join(data.split()), strict_mode=True)  # in lines, as RFC 2045 has it
        except ValueError:
            raise Refused("invalid_request", f"'{where}' is not base64", param=where) from None


def _media(message: Message) -> Iterator[tuple[int, str]]:
    """What a message holds in base64, and which part of its content it is."""
    content = message.get("content")
    for place, part in enumerate(content if isinstance(content, list) else ()):
        if not isinstance(part, dict):
            continue
        kind = part.get("type")
        held = part.get(kind) if isinstance(kind, str) else None
        match kind, held:
            case "image_url", {"url": str(url)} | str(url):
                data = _of_url(url)
            case "input_audio", {"data": str(data)}:
                pass
            case "file", {"file_data": str(url)}:
                data = _of_url(url)
            case _:
                continue
        if data:
            yield place, data


def _of_url(url: str) -> str:
    """The base64 of a `data:` URL (RFC 2397); empty for any other."""
    if url[:5].lower() != "data:":
        return ""
    head, _, data = url.partition(",")
    return data if head.lower().endswith(";base64") else ""
