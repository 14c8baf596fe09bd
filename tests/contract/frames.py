"""The messages in the frames a server writes, as the `websockets` library reads them."""

from __future__ import annotations

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.uri import parse_uri


def messages_in(data: bytes) -> list[str | bytes]:
    """Text messages as `str`, binary ones as `bytes`; every frame has to be whole, and a message of its own."""
    client = ClientProtocol(parse_uri("ws://localhost/"), state=OPEN, max_size=None)
    client.receive_data(data)
    assert client.parser_exc is None
    frames = [event for event in client.events_received() if isinstance(event, Frame)]
    assert all(frame.fin and frame.opcode in (Opcode.TEXT, Opcode.BINARY) for frame in frames)
    return [bytes(frame.data).decode() if frame.opcode is Opcode.TEXT else bytes(frame.data) for frame in frames]
