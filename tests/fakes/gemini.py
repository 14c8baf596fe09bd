"""Gemini's own `streamGenerateContent`, with one answer that has everything: a thought, words, a call, counts.

It answers in a thread of its own, for servers in processes of theirs. Shapes follow ai.google.dev/api/generate-content.
"""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def _said(**part: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": [part], "role": "model"}, "index": 0}]}


COUNTS = {"promptTokenCount": 14, "candidatesTokenCount": 31, "thoughtsTokenCount": 86, "totalTokenCount": 131}
ANSWER = [
    _said(text="Look it up.", thought=True),
    _said(text="One "),
    _said(text="moment."),
    _said(functionCall={"name": "weather", "args": {"city": "Bern"}}),
    {"candidates": [{"finishReason": "STOP", "index": 0}], "usageMetadata": COUNTS},
]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        known = self.path.endswith(":streamGenerateContent?alt=sse")
        data = b"".join(b"data: " + json.dumps(event).encode() + b"\r\n\r\n" for event in ANSWER) if known else b""
        self.send_response(200 if known else 404)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing is logged."""


@contextmanager
def gemini() -> Generator[str]:
    """Serve inside the block; yields the base URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="gemini")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
