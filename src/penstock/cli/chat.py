"""`penstock chat`: talk to a running server from a terminal, or ask it one question from a script."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import asyncio

    from penstock.cli.client import Transport, Turn
    from penstock.cli.screen import Screen

URL = "http://127.0.0.1:8420"
INTERRUPTED = 130
TRANSPORTS: dict[str, Transport] = {"sse": "sse", "ws": "ws", "chunked": "chunked"}

HELP = """\
/model NAME            ask another model
/transport sse|ws|chunked
/new                   forget the conversation
/quit                  leave (so do Ctrl-D, and Ctrl-C twice)
Ctrl-C while it speaks stops the answer, not the program."""


@click.command("chat")
@click.option("--url", default=URL, envvar="PENSTOCK_URL", show_default=True, metavar="URL", help="The server.")
@click.option("--model", metavar="NAME", help="The model. [default: the server's]")
@click.option(
    "--transport",
    type=click.Choice(list(TRANSPORTS)),
    default="sse",
    show_default=True,
    help="How the answer comes.",
)
@click.option("--prompt", metavar="TEXT", help="Ask this, print the answer and leave.")
def command(url: str, model: str | None, transport: Transport, prompt: str | None) -> None:
    """Talk to a running server.

    With --prompt, or with a question on standard input, it prints the answer and leaves with 0; with 1 if the answer
    failed, with 130 if Ctrl-C cancelled it. A dropped connection is taken up again where it was lost. A server that
    wants a key is shown the one in the variable PENSTOCK_API_KEY.
    """
    import asyncio

    from penstock.cli.screen import screen

    if prompt is None and not sys.stdin.isatty():
        prompt = sys.stdin.read()
    chat = Chat(url, model, transport, screen())
    with asyncio.Runner() as runner:
        if prompt is not None:
            sys.exit(runner.run(chat.ask(prompt)))
        _converse(chat, runner)


class Chat:
    """One conversation: what was said so far, and where to."""

    def __init__(self, url: str, model: str | None, transport: Transport, screen: Screen):
        self.url = url
        self.model = model
        self.transport: Transport = transport
        self.screen = screen
        self.messages: list[dict[str, Any]] = []

    async def ask(self, prompt: str) -> int:
        """One turn; the conversation grows by it if it came to an end. Returns the exit code a script would want."""
        from penstock.cli.client import ServerRefused, Turn, Unreachable, connected

        question = {"role": "user", "content": prompt}
        request: dict[str, Any] = {"messages": [*self.messages, question]}
        if self.model:
            request["model"] = self.model
        self.screen.waiting()
        try:
            async with connected(self.url) as client:
                turn = Turn(client, self.transport, request=request)
                async with _Interrupt(turn, self.screen):
                    code, said = await self._read(turn)
        except (ServerRefused, Unreachable) as problem:
            self.screen.complain(str(problem))
            return 1
        finally:
            self.screen.done()
        if said:
            self.messages += [question, {"role": "assistant", "content": said}]
        return code

    async def _read(self, turn: Turn) -> tuple[int, str]:
        """The exit code, and the text of the answer."""
        import asyncio
        from contextlib import aclosing

        from penstock.cli.screen import Parts

        parts = Parts()
        said = ""
        end = ""
        try:
            async with aclosing(turn.events()) as events:
                async for event in events:
                    self.screen.show(event)
                    end = event["type"]
                    if end == "opened":
                        parts.opened(event)
                    elif end == "delta" and parts.is_answer(event["part"]):
                        said += event["text"]
                    elif end == "gap":
                        said = ""
        except asyncio.CancelledError:
            # Ctrl-C before the server has begun, or for the second time: the turn is left as it is.
            end = "cancelled"
        return {"finished": 0, "cancelled": INTERRUPTED}.get(end, 1), said


class _Interrupt:
    """While a turn is read, Ctrl-C asks the server to cancel it; a second one leaves it without waiting."""

    def __init__(self, turn: Turn, screen: Screen):
        self._turn = turn
        self._screen = screen
        self._asking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        import asyncio

        self._loop = asyncio.get_running_loop()
        self._reading = asyncio.current_task()
        self._loop.add_signal_handler(signal.SIGINT, self._interrupted)

    async def __aexit__(self, *_: object) -> None:
        import asyncio

        self._loop.remove_signal_handler(signal.SIGINT)
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    def _interrupted(self) -> None:
        if self._turn.stream and self._asking is None:
            self._asking = self._loop.create_task(self._cancel())
        elif self._reading is not None:
            self._reading.cancel()

    async def _cancel(self) -> None:
        from penstock.cli.client import ServerRefused, Unreachable

        try:
            await self._turn.cancel()
        except (ServerRefused, Unreachable) as problem:
            self._screen.remark(f"not cancelled: {problem}; Ctrl-C again leaves the answer")


def _converse(chat: Chat, runner: asyncio.Runner) -> None:
    """Ask for lines and answer them until somebody leaves."""
    with suppress(ImportError):
        import readline  # noqa: F401 - it gives input() a memory and arrow keys
    click.echo(f"penstock chat, {chat.url}; /help says what can be typed", err=True)
    leaving = False
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            click.echo()
            return
        except KeyboardInterrupt:
            if leaving:
                click.echo()
                return
            leaving = True
            click.echo("\nCtrl-C again, or Ctrl-D, leaves", err=True)
            continue
        leaving = False
        if line.startswith("/"):
            if not _obey(chat, line):
                return
        elif line:
            runner.run(chat.ask(line))


def _obey(chat: Chat, line: str) -> bool:
    """One slash command. Returns false where it was the last."""
    name, _, rest = line.partition(" ")
    rest = rest.strip()
    match name:
        case "/quit" | "/exit":
            return False
        case "/new":
            chat.messages.clear()
            chat.screen.remark("forgotten")
        case "/model":
            chat.model = rest or None
            chat.screen.remark(f"asking {rest or 'the model the server chooses'}")
        case "/transport" if rest in TRANSPORTS:
            chat.transport = TRANSPORTS[rest]
            chat.screen.remark(f"over {rest}")
        case _:
            chat.screen.remark(HELP)
    return True
