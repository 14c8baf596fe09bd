"""What `penstock doctor` looks at, one check after the other, each with its finding and the line to change.

That tokens arrive one by one is shown without a clock: the server says the next only when this side has confirmed the last.
A clock is needed only to give up.
"""

from __future__ import annotations

import asyncio
import ssl
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from penstock.cli.doctor_advice import Fault, Proxy, advice
from penstock.cli.doctor_visit import ACCEPT, CARRIERS, TOKENS, Carrier, Far, Socket, Visit

Outcome = Literal["ok", "warning", "fault", "untested"]
NAMES = {"sse": "SSE", "ndjson": "NDJSON", "text": "bare text", "websocket": "WebSocket"}
PROMISED = {"cache-control": "no-store, no-transform", "x-content-type-options": "nosniff"}
"""Headers of every HTTP stream that no proxy should take away or change."""
POLL = 0.1
SETTLE = 10.0
"""Seconds for what nothing stands in the way of, however early a token is given up."""
SMALL_BODY, LARGE_BODY = 900 * 1024, 1280 * 1024
"""Below and above the megabyte that nginx takes where nobody tells it otherwise."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the report: what was looked at, how it stands, and what to change where it should be otherwise."""

    check: str
    outcome: Outcome
    said: str
    fault: Fault | None = None
    advice: str | None = None


class Doctor:
    """The checks of one server. `timeout` (seconds) is when a token is given up, `idle` how long a silence is tried."""

    def __init__(self, visit: Visit, *, timeout: float, idle: float, proxy: Proxy | None):
        self.visit = visit
        self.timeout = timeout
        self.settle = max(timeout, SETTLE)
        self.idle_seconds = idle
        self.proxy = proxy
        self.passed: list[Carrier] = []
        """Transports over which tokens came one by one."""
        self.said = 0
        """How many events the server had said by its own account when a token was given up."""

    def found(self, check: str, fault: Fault, said: str, *, outcome: Outcome = "fault") -> Finding:
        return Finding(check=check, outcome=outcome, said=said, fault=fault, advice=advice(fault, self.proxy))

    async def examine(self) -> AsyncIterator[Finding]:
        """Every check that needs no run. Those with runs are `streams`."""
        yield await self.handshake_needed()
        yield await self.own_page()
        yield await self.foreign_page()
        yield await self.body()

    async def streams(self) -> AsyncIterator[Finding]:
        """Every check that needs a run of the demo. Raises `Untestable`."""
        for carrier in CARRIERS:
            async for finding in self.stream(carrier):
                yield finding
        yield await self.resume()
        yield await self.leaving()
        yield await self.cut()
        async for finding in self.idle():
            yield finding

    # -- without a run -----------------------------------------------------------------------------------------------------

    async def handshake_needed(self) -> Finding:
        """The path of the WebSocket is reached, and says so."""
        answer = await self.visit.ask("GET", "/v1/chat/ws")
        if answer.status == 426:
            return _ok("WebSocket path", "answers 426 to a plain request, as it should")
        said = f"answers {answer.status} to a plain request instead of 426; the path does not lead to penstock as it should"
        return Finding(check="WebSocket path", outcome="warning", said=said)

    async def own_page(self) -> Finding:
        """A page of the same site may use the server: its Origin is compared with the Host that arrives."""
        parts = urlsplit(self.visit.url)
        answer = await self.visit.ask("GET", "/v1/models", Origin=f"{parts.scheme}://{parts.netloc}")
        if answer.code == "origin_refused":
            return self.found(
                "own page", "origin", "a page of this very site is refused: the Host header arrives changed"
            )
        return _ok("own page", "a page of this site may use the server")

    async def foreign_page(self) -> Finding:
        """A page of another site may not."""
        answer = await self.visit.ask("GET", "/v1/models", Origin="https://elsewhere.invalid")
        if answer.code == "origin_refused":
            return _ok("foreign page", "a page of another site is refused")
        said = f"a page of another site is answered with {answer.status}; penstock itself would refuse it"
        return Finding(check="foreign page", outcome="warning", said=said)

    async def body(self) -> Finding:
        """Bodies are refused by penstock, with its words, or not at all."""
        for size in (SMALL_BODY, LARGE_BODY):
            answer = await self.visit.ask(
                "POST", "/v1/streams", body=b'"' + size * b"x" + b'"', Content_Type="application/json"
            )
            if answer.status == 413 and not answer.code:
                said = f"a request of {size // 1024} KiB is refused before it reaches penstock"
                return self.found("request body", "body", said)
            if answer.status == 413:
                return _ok("request body", f"{answer.message}: the limit that acts is penstock's own")
        return _ok("request body", f"{LARGE_BODY // 1024} KiB pass")

    # -- one transport -----------------------------------------------------------------------------------------------------

    async def stream(self, carrier: Carrier) -> AsyncIterator[Finding]:
        """A run in lock-step over one transport: does each token arrive before the next is said?"""
        name = NAMES[carrier]
        run = await self.visit.begin()
        async with self.visit.reading(run, carrier) as far:
            if not await far.until(lambda: far.status > 0, self.timeout):
                if carrier == "websocket" or far.ended:
                    yield self._unanswered(name, carrier, far)
                    await self.visit.ask("DELETE", f"/v1/streams/{run}")
                    return
            elif far.status not in (101, 200):
                yield self._refused(name, carrier, far)
                await self.visit.ask("DELETE", f"/v1/streams/{run}")
                return
            trips = await self._in_lockstep(run, far)
            whole = await far.complete(self.settle)
        if trips is not None:
            self.passed.append(carrier)
            trip = f"{statistics.median(trips) * 1000:.0f} ms" if trips else "no time"
            ending = "" if whole else "; but the end never came"
            yield Finding(
                check=name,
                outcome="ok" if whole else "fault",
                said=f"{TOKENS} tokens came one by one, {trip} from a confirmation to the next token{ending}",
            )
        else:
            yield self._held(name, far, whole=whole)
        for finding in self._head(name, carrier, far):
            yield finding
        if trips is None and "content-encoding" in far.headers:
            yield await self._held_without_compression(name, carrier)

    async def _in_lockstep(self, run: str, far: Far) -> list[float] | None:
        """Seconds from each confirmation to the next token; None where a token did not come before its successor was said."""
        trips: list[float] = []
        seen = 0
        for number in range(TOKENS):
            asked = time.perf_counter()
            if number:
                await self._confirm(run, far)
            if not await far.advanced(seen, self.timeout):
                self.said = int((await self.visit.state(run)).get("entries", 0))
                await self.visit.confirm(run, TOKENS - 1 - number)
                return None
            if number:
                trips.append(time.perf_counter() - asked)
            seen = far.progress
        return trips

    async def _confirm(self, run: str, far: Far) -> None:
        if isinstance(far, Socket):
            await far.send({"type": "input", "stream": run, "body": {"heard": 1}})
        else:
            await self.visit.confirm(run)

    def _held(self, name: str, far: Far, *, whole: bool) -> Finding:
        what = "a token that the server had sent" if far.status else "the head of a stream that had begun"
        if far.ended == "cut":
            said = f"the stream was cut while it waited for the next token: {far.problem}"
            return self.found(name, "idle", said)
        if not self.said:
            return Finding(check=name, outcome="untested", said="the server itself had said nothing yet")
        end = "all came at once when the stream ended" if whole else "even its end brought nothing"
        return self.found(name, "buffers", f"{what} did not arrive within {self.timeout:g} s; {end}")

    def _unanswered(self, name: str, carrier: Carrier, far: Far) -> Finding:
        said = far.problem or f"no answer within {self.timeout:g} s"
        return self.found(name, "upgrade" if carrier == "websocket" else "buffers", said)

    def _refused(self, name: str, carrier: Carrier, far: Far) -> Finding:
        if carrier == "websocket":
            lost = "; the Upgrade header does not reach penstock" if far.status == 426 else ""
            return self.found(name, "upgrade", f"the handshake is answered with status {far.status}{lost}")
        return Finding(check=name, outcome="fault", said=f"answered with status {far.status} instead of 200")

    def _head(self, name: str, carrier: Carrier, far: Far) -> Sequence[Finding]:
        """What happened to the head of a stream."""
        if carrier == "websocket" or not far.status:
            return ()
        findings = []
        if encoding := far.headers.get("content-encoding"):
            held = carrier not in self.passed
            said = f"the stream is compressed with {encoding}, although it says no-transform"
            findings.append(self.found(f"{name} head", "compresses", said, outcome="fault" if held else "warning"))
        promised = {**PROMISED, "content-type": f"{ACCEPT[carrier]}; charset=utf-8", "x-request-id": far.asked_id}
        changed = [
            f"{header} is {far.headers.get(header) or 'missing'}"
            for header, value in promised.items()
            if far.headers.get(header) != value
        ]
        if "penstock-stream-id" not in far.headers:
            changed.append("penstock-stream-id is missing")
        if "content-length" in far.headers:
            changed.append("content-length stands there, so somebody has read the stream to its end")
        if changed:
            findings.append(self.found(f"{name} head", "headers", "; ".join(changed)))
        return findings

    async def _held_without_compression(self, name: str, carrier: Carrier) -> Finding:
        """Whether compression alone holds the stream back."""
        run = await self.visit.begin()
        async with self.visit.reading(run, carrier, encodings="identity") as far:
            trips = await self._in_lockstep(run, far)
            whole = await far.complete(self.settle)
        check = f"{name}, uncompressed"
        if trips is None:
            return self._held(check, far, whole=whole)
        return _ok(check, "came one by one to a client that takes no compression: compression is what holds it back")

    # -- what a stream must survive ------------------------------------------------------------------------------------------

    async def resume(self) -> Finding:
        """A reader that comes back with Last-Event-ID at the end of a run gets 204."""
        run = await self.visit.begin(tokens=1)
        cursor = str((await self._settled(run, "state", "ended", self.settle)).get("cursor"))
        answer = await self.visit.ask("GET", f"/v1/streams/{run}/events", Last_Event_ID=cursor)
        if answer.status == 204:
            return _ok("resume", "Last-Event-ID arrives: a reader that has everything gets 204")
        said = f"a reader that has everything is answered with {answer.status} instead of 204: Last-Event-ID does not arrive"
        return Finding(check="resume", outcome="fault", said=said, advice="let the proxy pass Last-Event-ID on")

    async def leaving(self) -> Finding:
        """The server learns that a reader has left."""
        run = await self.visit.begin()
        async with self.visit.reading(run, "sse") as far:
            await far.until(lambda: far.status > 0, self.timeout)
            joined = (await self._settled(run, "readers", 1, self.settle)).get("readers")
        left = (await self._settled(run, "readers", 0, self.timeout)).get("readers") == 0
        await self.visit.ask("DELETE", f"/v1/streams/{run}")
        if not joined:
            return Finding(check="leaving", outcome="untested", said="the reader never arrived at the server")
        if left:
            return _ok("leaving", "the server notices when a client leaves")
        said = f"{self.timeout:g} s after a client has left, the server still writes to it: leaving cancels nothing"
        return self.found("leaving", "leaving", said)

    async def _settled(self, run: str, name: str, value: object, seconds: float) -> dict[str, Any]:
        """How a run stands once it stands so, or after so many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            state = await self.visit.state(run)
            if state.get(name) == value or time.monotonic() > deadline:
                return state
            await asyncio.sleep(POLL)

    async def cut(self) -> Finding:
        """Bare text that broke off must not end as if it were complete."""
        run = await self.visit.begin(drop_after=2)
        async with self.visit.reading(run, "text") as far:
            await far.advanced(0, self.timeout)
            await self.visit.confirm(run)
            await far.over(self.settle)
        if far.ended == "complete":
            return self.found("failure", "cut", "bare text that broke off arrives as if it were complete")
        if not far.ended:
            return self.found("failure", "cut", "bare text that broke off stays open")
        return _ok("failure", "bare text that broke off arrives as a cut connection")

    async def idle(self) -> AsyncIterator[Finding]:
        """A silence, on all transports at once: does anybody end a stream that only waits?"""
        if not self.idle_seconds:
            return
        run = await self.visit.begin()
        async with (
            self.visit.reading(run, "sse") as sse,
            self.visit.reading(run, "ndjson") as ndjson,
            self.visit.reading(run, "text") as text,
            self.visit.reading(run, "websocket") as socket,
        ):
            began = time.monotonic()
            all_four: tuple[Far, ...] = (sse, ndjson, text, socket)
            for far in all_four:
                await far.advanced(0, self.timeout if far.carrier in self.passed else 0)
            await asyncio.gather(*(far.over(self.idle_seconds) for far in all_four))
            before = [(far, far.ended_at and far.ended_at - began, far.progress) for far in all_four]
            await self.visit.confirm(run)
            for far, silence, seen in before:
                yield await self._after_silence(far, silence, seen)
        await self.visit.ask("DELETE", f"/v1/streams/{run}")

    async def _after_silence(self, far: Far, silence: float | None, seen: int) -> Finding:
        check = f"{NAMES[far.carrier]} at rest"
        if far.carrier == "websocket" and far.status != 101:
            return Finding(check=check, outcome="untested", said="there is no WebSocket to be silent on")
        if silence is not None:
            beat = "; bare text has no heartbeat" if far.carrier == "text" else ""
            return self.found(check, "idle", f"a stream without tokens was ended after {silence:.0f} s{beat}")
        if far.carrier not in self.passed:
            return Finding(check=check, outcome="untested", said="what is held back cannot be seen to survive")
        survived = await far.advanced(seen, self.timeout)
        if not survived:
            return self.found(check, "idle", f"after {self.idle_seconds:g} s without tokens the next one never came")
        beats = f", {far.beats} {'heartbeat' if far.beats == 1 else 'heartbeats'}" if far.beats else ""
        return _ok(check, f"survived {self.idle_seconds:g} s without tokens{beats}")


def _ok(check: str, said: str) -> Finding:
    return Finding(check=check, outcome="ok", said=said)


async def secured(url: str, context: ssl.SSLContext) -> list[Finding]:
    """What TLS says of itself: how long the certificate holds, and whether HTTP/2 is offered. Raises `OSError`."""
    parts = urlsplit(url)
    if parts.scheme != "https":
        return [Finding(check="TLS", outcome="warning", said="the connection is not encrypted")]
    offering = ssl.create_default_context()
    offering.check_hostname, offering.verify_mode = context.check_hostname, context.verify_mode
    if context.get_ca_certs():
        offering.load_verify_locations(cadata=b"".join(context.get_ca_certs(binary_form=True)))
    offering.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await asyncio.open_connection(parts.hostname, parts.port or 443, ssl=offering)
    try:
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        certificate, version, protocol = tls.getpeercert(), tls.version(), tls.selected_alpn_protocol()
    finally:
        writer.transport.abort()
    days = ""
    if certificate and isinstance(until := certificate.get("notAfter"), str):
        left = (ssl.cert_time_to_seconds(until) - time.time()) / 86_400
        days = f", the certificate is valid for {left:.0f} more days"
    speaks = (
        "HTTP/2 is offered" if protocol == "h2" else "only HTTP/1.1 is offered: browsers open six connections per site"
    )
    return [_ok("TLS", f"{version}{days}"), _ok("HTTP", speaks)]
