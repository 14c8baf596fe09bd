"""What the demo says: markdown, code and many scripts, cut into tokens, and one small picture. No time passes here."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from itertools import cycle

# One token: a word with the space after it, one character of a script written without spaces, or a run of line ends.
_TOKEN = re.compile(
    r"[\u2e80-\ua4cf\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]|[^\s\u2e80-\ua4cf\uac00-\ud7af]{1,12} ?|\s+"
)

_THINKING = (
    "The question is {question}. I am a demo and know nothing, so I will show what a stream may hold: "
    "prose, a list, code, and letters from many places. "
)

_ANSWER = """You said: **{question}**.

I am the demo model of penstock. No key, no network, no thoughts of my own: \
I only show you what your client has to cope with when a real model speaks.

## What comes through here

1. Words, one token at a time, at a steady pace.
2. *Emphasis*, `inline code` and [links](https://example.org/).
3. Code, with its indentation:

```python
async def answer(request, run):
    for word in ("one", "two", "three"):
        yield f"{{word}} → "
```

And letters that a careless splitter breaks: naïve café, cafe\u0301 with a combining accent, Ελλάδα, Привет, \
\u0645\u0631\u062d\u0628\u0627, नमस्ते, 你好世界，こんにちは、안녕하세요, 👋🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇨🇭, and a \u200bzero-width space.

"""

_MORE = """| transport | how to read it |
| --- | --- |
| server-sent events | `EventSource` |
| WebSocket | `new WebSocket(url)` |
| HTTP chunked | `curl -N` |

> A river does not ask who drinks from it.

Steer me while I speak: send an input, and I will say that I heard you. Drop the connection and come back: \
not one word will be missing, and none will come twice. 水は流れる。

"""


def question(prompt: str) -> str:
    """The first words of what was asked, on one line, so that people see their message mattered."""
    words = prompt[:400].split()
    if not words:
        return "nothing at all"
    return " ".join(words[:12]) + (" …" if len(words) > 12 else "")


def thinking(prompt: str) -> list[str]:
    """The tokens of the reasoning part."""
    return _TOKEN.findall(_THINKING.format(question=question(prompt)))


def answer(prompt: str) -> Iterator[str]:
    """The tokens of the answer; they never run out."""
    yield from _TOKEN.findall(_ANSWER.format(question=question(prompt)))
    yield from cycle(_TOKEN.findall(_MORE))


def usual_length(prompt: str) -> int:
    """Tokens of an answer whose length nobody asked for: 3 to 20 seconds at 30 tokens a second, longer for longer questions."""
    return min(90 + 6 * len(prompt.split()), 600)


def picture(side: int = 64) -> bytes:
    """A square PNG of `side` pixels in two fading colours (PNG specification, third edition, §5 and §11.2)."""

    def block(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = bytearray()
    for y in range(side):
        rows.append(0)  # each row says how it is filtered: not at all
        for x in range(side):
            rows += bytes((255 * x // side, 120, 255 * y // side))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)  # 8 bits a channel, red green blue
    return (
        b"\x89PNG\r\n\x1a\n" + block(b"IHDR", header) + block(b"IDAT", zlib.compress(bytes(rows))) + block(b"IEND", b"")
    )
