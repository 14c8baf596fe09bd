"""How an answer is shown: the words alone in a pipe; markdown, thoughts and a spinner on a terminal."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from rich.live import Live
    from rich.markdown import Markdown
    from rich.status import Status

# A terminal obeys what it is shown; a model must not give it orders. Only line ends and tabs pass.
UNPRINTABLE = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)))
FRAME = 0.08
"""Seconds between two drawings of a growing block."""


class Screen(Protocol):
    """Shows one answer after another."""

    def waiting(self) -> None:
        """A question was sent."""

    def show(self, event: dict[str, Any]) -> None:
        """The next event of the answer."""

    def done(self) -> None:
        """The answer is over, or was given up."""

    def complain(self, message: str) -> None:
        """Something went wrong."""

    def remark(self, message: str) -> None:
        """Something worth knowing that is no part of the answer."""


NEWS = {
    "reconnecting": "connection lost; taking it up again",
    "gap": "the server no longer holds what was missed; the answer so far comes again",
}
"""What is said of events that are no part of the answer."""


class Parts:
    """Which part is what, from the events that open them."""

    def __init__(self) -> None:
        self._opened: dict[int, dict[str, Any]] = {}

    def opened(self, event: dict[str, Any]) -> None:
        self._opened[event["part"]] = event

    def is_answer(self, part: int) -> bool:
        """Whether a part is text of the first choice."""
        opened = self._opened.get(part, {})
        return opened.get("kind") == "text" and opened.get("choice", 0) == 0

    def kind(self, part: int) -> str:
        return str(self._opened.get(part, {}).get("kind", ""))

    def label(self, part: int) -> str:
        """What a part that is no text is called."""
        opened = self._opened.get(part, {})
        return str(opened.get("name") or opened.get("media_type") or opened.get("kind", "part"))


class PlainScreen:
    """The words of the answer on `out` as they come, everything else on `err`."""

    def __init__(self, out: TextIO, err: TextIO):
        self._out = out
        self._err = err
        self._spinner = Spinner(err)
        self._parts = Parts()
        self._said = False
        self._at_start = True

    def waiting(self) -> None:
        self._parts = Parts()
        self._said = False
        self._spinner.start()

    def show(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "opened":
                self._spinner.stop()
                self._parts.opened(event)
                if self._parts.is_answer(event["part"]) and self._said:
                    self._write("\n\n")
            case "delta" if self._parts.is_answer(event["part"]):
                self._said = True
                self._write(event["text"])
            case "failed":
                self.complain(event["error"]["message"])
            case "reconnecting" | "gap" as news:
                self.remark(NEWS[news])
            case _:
                pass

    def done(self) -> None:
        self._spinner.stop()
        if self._said and not self._at_start:
            self._write("\n")

    def complain(self, message: str) -> None:
        self._spinner.stop()
        if self._said and not self._at_start:
            self._write("\n")
        self._err.write(f"error: {message}\n")

    def remark(self, message: str) -> None:
        self._err.write(f"{message}\n")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
        self._at_start = text.endswith("\n")


class Spinner:
    """Says on a terminal that a question is on its way; elsewhere says nothing."""

    def __init__(self, err: TextIO):
        self._err = err
        self._status: Status | None = None

    def start(self) -> None:
        if self._err.isatty():
            from rich.console import Console

            self._status = Console(file=self._err).status("waiting for the first token")
            self._status.start()

    def stop(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


class RichScreen:
    """Markdown as it is written, on a terminal: finished blocks are printed once, the growing one is drawn again and again."""

    def __init__(self, out: TextIO, err: TextIO):
        from rich.console import Console

        self._console = Console(file=out)
        self._errors = Console(file=err)
        self._spinner = Spinner(err)
        self._live: Live | None = None
        self._drawing: asyncio.TimerHandle | None = None
        self._parts = Parts()
        self._block = ""
        self._bytes: dict[int, int] = {}
        self._began = self._first = 0.0
        self._dim = False

    def waiting(self) -> None:
        self._parts = Parts()
        self._block = ""
        self._bytes = {}
        self._began, self._first = time.monotonic(), 0.0
        self._spinner.start()

    def show(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "opened":
                self._first = self._first or time.monotonic()
                self._spinner.stop()
                self._parts.opened(event)
                if self._parts.kind(event["part"]) == "tool_call":
                    self._aside(f"{self._parts.label(event['part'])} ")
            case "delta" if self._parts.is_answer(event["part"]):
                self._grow(event["text"].translate(UNPRINTABLE))
            case "delta":
                self._aside(event["text"].translate(UNPRINTABLE))
            case "chunk":
                self._bytes[event["part"]] = self._bytes.get(event["part"], 0) + len(event["data"])
            case "closed":
                self._close(event["part"])
            case "usage":
                self._count(event)
            case "failed":
                self.complain(event["error"]["message"])
            case "cancelled":
                self.remark("cancelled")
            case "reconnecting" | "gap" as news:
                self.remark(NEWS[news])
            case _:
                pass

    def done(self) -> None:
        self._spinner.stop()
        self._flush()

    def complain(self, message: str) -> None:
        self.done()
        self._errors.print(f"error: {message.translate(UNPRINTABLE)}", style="bold red", markup=False, highlight=False)

    def remark(self, message: str) -> None:
        self._flush()
        self._errors.print(message, style="dim", markup=False, highlight=False)

    def _aside(self, text: str) -> None:
        """Thoughts and tool calls, as they come."""
        self._flush_markdown()
        self._dim = True
        self._console.print(text, style="dim", end="", markup=False, highlight=False, soft_wrap=True)

    def _grow(self, text: str) -> None:
        from rich.markdown import Markdown

        self._end_aside()
        finished, self._block = finished_blocks(self._block + text)
        if finished.strip():
            self._end_drawing()
            self._console.print(Markdown(finished))
            self._console.print()
        if self._drawing is None:
            # Not with every token, and not from the thread rich would start: its writes overtake those of this one.
            self._drawing = asyncio.get_running_loop().call_later(FRAME, self._draw)

    def _draw(self) -> None:
        from rich.live import Live

        self._drawing = None
        if self._live is None:
            self._live = Live(get_renderable=self._growing, console=self._console, transient=True, auto_refresh=False)
            self._live.start()
        self._live.refresh()

    def _end_drawing(self) -> None:
        """Take the growing block off the terminal."""
        if self._drawing is not None:
            self._drawing.cancel()
            self._drawing = None
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _growing(self) -> Markdown:
        from rich.markdown import Markdown

        return Markdown(last_rows(self._block, max(4, self._console.height - 2), self._console.width))

    def _close(self, part: int) -> None:
        self._flush()
        if part in self._bytes:
            self.remark(f"[{self._parts.label(part)}: {self._bytes[part]} bytes]")

    def _flush(self) -> None:
        self._flush_markdown()
        self._end_aside()

    def _flush_markdown(self) -> None:
        from rich.markdown import Markdown

        self._end_drawing()
        if self._block.strip():
            self._console.print(Markdown(self._block))
        self._block = ""

    def _end_aside(self) -> None:
        if self._dim:
            self._console.print()
            self._dim = False

    def _count(self, usage: dict[str, Any]) -> None:
        now = time.monotonic()
        waited = f"first after {self._first - self._began:.1f} s" if self._first else "no word"
        self.remark(f"{usage['input']} in, {usage['output']} out, {now - self._began:.1f} s, {waited}")


def finished_blocks(text: str) -> tuple[str, str]:
    """Markdown up to the last blank line outside a fence of code, and what follows it."""
    cut = position = 0
    fence = ""
    for line in text.splitlines(keepends=True):
        position += len(line)
        mark = line.lstrip()[:3]
        if mark in ("```", "~~~") and mark == (fence or mark):
            fence = "" if fence else mark
        elif not line.strip() and line.endswith("\n") and not fence:
            cut = position
    return text[:cut], text[cut:]


def last_rows(text: str, rows: int, width: int) -> str:
    """The end of a block that is taller than the terminal; code stays code."""
    lines = text.split("\n")
    start = len(lines)
    while start > 0 and (rows := rows - max(1, -(-len(lines[start - 1]) // width))) >= 0:
        start -= 1
    if start == 0:
        return text
    if start == len(lines):
        return lines[-1][-width * 2 :]
    fence = lines[0] if lines[0].lstrip()[:3] in ("```", "~~~") else ""
    return "\n".join([*([fence] if fence else []), *lines[start:]])


def screen() -> Screen:
    """The screen for where standard output goes."""
    return RichScreen(sys.stdout, sys.stderr) if sys.stdout.isatty() else PlainScreen(sys.stdout, sys.stderr)
