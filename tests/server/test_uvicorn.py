"""What we lean on in uvicorn, httptools and websockets that they promise nobody: it fails when one of them changes beneath us.

Whoever brings a new version reads what changed in the parts named here, tries the rooms `server`, `faults` and `live`, and
then writes down the new text.
"""

import hashlib
import inspect
from importlib.metadata import version

import httptools
import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import Server, ServerState
from websockets.protocol import Protocol
from websockets.server import ServerProtocol
from websockets.streams import StreamReader

CHECKED = {"uvicorn": "0.54", "httptools": "0.9", "websockets": "17"}

LEANED_ON = [
    (
        HttpToolsProtocol,
        "__init__ connection_made connection_lost data_received handle_websocket_upgrade on_message_begin",
    ),
    (HttpToolsProtocol, "on_url on_header on_headers_complete on_body on_message_complete on_response_complete"),
    (HttpToolsProtocol, "_start_asgi_task _should_upgrade shutdown eof_received pause_writing resume_writing"),
    (RequestResponseCycle, "__init__ run_asgi send receive"),
    (
        WebSocketsSansIOProtocol,
        "__init__ connection_made connection_lost shutdown data_received handle_events handle_connect",
    ),
    (
        WebSocketsSansIOProtocol,
        "handle_cont handle_text handle_bytes send_receive_event_to_app handle_ping handle_pong",
    ),
    (
        WebSocketsSansIOProtocol,
        "start_keepalive stop_keepalive schedule_ping handle_close handle_parser_exception run_asgi",
    ),
    (WebSocketsSansIOProtocol, "send receive"),
    (Server, "startup shutdown main_loop on_tick capture_signals"),
    (ServerState, "__init__"),
    (ServerProtocol, "accept reject"),
    (Protocol, "fail receive_data recv_frame send_ping data_to_send"),
    (StreamReader, "__init__"),
]


def text_of(owner: type, names: str) -> str:
    """A number for the text of these methods."""
    text = "\n".join(inspect.getsource(getattr(owner, name)) for name in names.split())
    return hashlib.sha256(text.encode()).hexdigest()[:12]


READ = {
    "HttpToolsProtocol __init__ connection_made connection_lost data_received handle_websocket_upgrade on_message_begin": "48428e86c0a1",
    "HttpToolsProtocol on_url on_header on_headers_complete on_body on_message_complete on_response_complete": "ba0adbb628e1",
    "HttpToolsProtocol _start_asgi_task _should_upgrade shutdown eof_received pause_writing resume_writing": "ce598fd98bbc",
    "RequestResponseCycle __init__ run_asgi send receive": "1109ec548acb",
    "WebSocketsSansIOProtocol __init__ connection_made connection_lost shutdown data_received handle_events handle_connect": "a391c16fce86",
    "WebSocketsSansIOProtocol handle_cont handle_text handle_bytes send_receive_event_to_app handle_ping handle_pong": "b957d8fb27c9",
    "WebSocketsSansIOProtocol start_keepalive stop_keepalive schedule_ping handle_close handle_parser_exception run_asgi": "6a52f7dc15d5",
    "WebSocketsSansIOProtocol send receive": "8faa2c414a71",
    "Server startup shutdown main_loop on_tick capture_signals": "ea7c8645eecb",
    "ServerState __init__": "8daf3a9b4e4e",
    "ServerProtocol accept reject": "86750b86878c",
    "Protocol fail receive_data recv_frame send_ping data_to_send": "550c393e85b4",
    "StreamReader __init__": "a17823aa6e21",
}
"""Of uvicorn 0.54.0 and websockets 17.4."""


@pytest.mark.parametrize("package", CHECKED)
def test_the_version_is_one_we_have_looked_at(package: str) -> None:
    assert f"{version(package)}.".startswith(f"{CHECKED[package]}.")


def test_the_text_we_lean_on_is_the_one_we_have_read() -> None:
    found = {f"{owner.__name__} {names}": text_of(owner, names) for owner, names in LEANED_ON}
    assert found == READ


async def test_what_our_protocols_set_and_read_is_there() -> None:
    config = uvicorn.Config(lambda: None, lifespan="off", log_config=None)
    state = ServerState()
    http = vars(HttpToolsProtocol(config, state, {})).keys()
    used = (
        "parser",
        "pipeline",
        "cycle",
        "flow",
        "transport",
        "headers",
        "scope",
        "expect_100_continue",
        "client",
        "loop",
    )
    assert [name for name in used if name not in http] == []
    socket = vars(WebSocketsSansIOProtocol(config, state, {})).keys()
    needed = (
        "conn",
        "queue",
        "writable",
        "close_sent",
        "close_timer",
        "close_timeout",
        "frames",
        "read_paused",
        "logger",
    )
    assert [name for name in (*needed, "pending_ping_payload") if name not in socket] == []
    conn = ServerProtocol(max_size=7)
    assert conn.max_message_size == 7
    assert len(conn.reader.buffer) == 0
    assert issubclass(httptools.HttpParserCallbackError, httptools.HttpParserError)
