"""Events of Anthropic's message stream → our events: the whole state of one answer, and nothing of the network.

`text`, `thinking` and `tool_use` blocks become parts of their kind. Texts that follow one another are one part, since citations cut
a sentence into blocks; a `Note` of the topic `block` says where another of them begins. Any other block (`redacted_thinking`, the
tools that run at the provider and their results, what is yet to be invented) is carried whole, as a binary part that holds its
JSON. Events of a type unknown are passed over, as the API asks of its clients. What ends a message beside its reason
(`stop_sequence`, `stop_details`, `container`) is a `Note` of the topic `stop`, what it counts beside tokens (`server_tool_use`) one of
the topic `usage`. A message is whole when its reason to end was said, which comes after the last block: `message_stop` says nothing
more.
"""

from __future__ import annotations

import msgspec

from penstock.core.carried import BLOCK
from penstock.core.events import Chunk, Closed, Delta, Event, Finished, Json, Kind, Note, Opened, Usage
from penstock.sources.anthropic_events import Piece, StreamEvent, Tokens, lenient, members, strict
from penstock.sources.ending import MOST_PARTS, Ending
from penstock.sources.halves import Halves
from penstock.sources.loose import Loose, NotAnObject, loosely
from penstock.sources.sse_splitter import LIMIT

SPEAKS = "anthropic"
MEDIA_TYPE = BLOCK % SPEAKS
KINDS: dict[str, Kind] = {"text": "text", "thinking": "reasoning", "tool_use": "tool_call"}
WORDS = ("type", "text", "thinking", "signature", "citations", "id", "name", "input")
"""Members of those blocks that our events have words for; any others are kept with their part."""
DELTAS = frozenset({"text_delta", "thinking_delta", "input_json_delta", "citations_delta", "signature_delta"})
REASONS = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}
"""Stop reasons by their names in OpenAI chat; the others (`refusal`, `pause_turn` …) keep theirs."""


class _Block:
    """One content block while it comes in, or a row of texts. What cannot go out in pieces is kept until it stops."""

    __slots__ = (
        *("begin", "borders", "box", "citations", "cited", "input", "kept", "kind"),
        *("part", "said", "signature", "told"),
    )

    def __init__(self, kind: Kind, part: int):
        self.kind = kind
        self.part = part
        self.said = 0  # characters
        self.kept = 0  # bytes
        self.signature: list[str] = []
        self.begin = 0  # of the latest text of the row, among the characters said
        self.cited: list[Loose] = []  # by the latest text of the row
        self.citations: list[Json] = []
        self.borders = 0  # within the row
        self.told = 0  # of the citations, at these
        self.input: list[str] = []
        self.box: dict[str, Loose] = {}

    def border(self, begun: dict[str, Loose]) -> dict[str, Json]:
        """What a note says where the next text of the row begins, which begins with these members."""
        cited, self.told = self.citations[self.told :], len(self.citations)
        body: dict[str, Json] = {"part": self.part, "at": self.said}
        return body | ({"citations": cited} if cited else {}) | ({SPEAKS: begun} if begun else {})


class Answer(Ending):
    """Takes stream events, gives events. Once `ended`, it takes nothing more."""

    __slots__ = (
        "_accounted",
        "_beside",
        "_blocks",
        "_halves",
        "_plain",
        "_reason",
        "_texts",
        "_tokens",
    )

    def __init__(self, host: str, *, secret: str | None = None):
        super().__init__(host, secret=secret)
        self._accounted = False
        """Whether the end of the message said what it cost; its beginning knows the question alone."""
        self._beside: dict[str, Json] = {}
        """What it counted beside tokens."""
        self._blocks: dict[int, _Block] = {}
        self._plain: dict[int, _Block] = {}  # the texts whose next piece may go straight out
        self._texts: _Block | None = None  # the row of texts that another text goes on
        self._halves = Halves()
        self._tokens = Tokens()
        self._reason = ""

    def read(self, payload: bytes, events: list[Event]) -> None:
        """An event. Nearly every one is just another piece of text."""
        try:
            event = strict(payload)
        except (ValueError, RecursionError):
            self._odd(payload, events)
            return
        piece = event.delta
        if (
            piece is not None
            and piece.type == "text_delta"
            and piece.text
            and event.index is not None
            and (block := self._plain.get(event.index)) is not None
        ):
            block.said += len(piece.text)
            events.append(Delta(block.part, piece.text))
        else:
            self._take(event, payload, events)

    def _odd(self, payload: bytes, events: list[Event]) -> None:
        """What is no event as providers usually send them."""
        if payload.strip():
            try:
                self._take(lenient(payload), payload, events)
            except NotAnObject:
                self.garble("an event that is not a JSON object")

    def _take(self, event: StreamEvent, payload: bytes, events: list[Event]) -> None:
        """Add to `events` what the event says. `payload` is its JSON, for what no field was made for."""
        match event.type:
            case "content_block_delta":
                block = self._blocks.get(event.index) if event.index is not None else None
                if block is None or event.delta is None:
                    self.garble("more of a content block that it has not begun")
                elif block.kind == "binary":
                    self._keep(block, event.delta, payload)
                else:
                    self._add(block, event.delta, payload, events)
                    self._quicken(event.index, block)
            case "content_block_start":
                self._start(event, payload, events)
            case "content_block_stop":
                if event.index is not None and (block := self._blocks.pop(event.index, None)) is not None:
                    self._plain.pop(event.index, None)
                    if block is self._texts:
                        self._pause(block, events)
                    else:
                        self._close(block, events)
            case "message_start":
                if event.message is not None and event.message.usage is not None:
                    self._count(event.message.usage)
                    events.append(self._usage())
            case "message_delta":
                self._end(event, payload, events)
            case "message_stop":
                self._complete(events)
            case "error":
                self.fail(event.error)
            case "" if event.error:
                self.fail(event.error)
            case _:
                pass  # `ping`, and what is yet to be invented

    def _start(self, event: StreamEvent, payload: bytes, events: list[Event]) -> None:
        stated = event.content_block
        if event.index is None or event.index in self._blocks or not isinstance(stated, dict):
            self.garble("a content block out of order")
            return
        if len(self._blocks) >= MOST_PARTS:
            self.garble(f"more than {MOST_PARTS} content blocks at once")
            return
        kind = KINDS.get(str(stated.get("type")), "binary")
        if kind == "text" and self._texts is not None:
            block = self._blocks[event.index] = self._texts
            block.borders += 1
            if block.borders > MOST_PARTS:
                self.garble(f"a text in more than {MOST_PARTS} blocks")
                return
            events.append(Note("block", block.border(_rest(stated))))
            self._begin(block, event.index, stated, payload, events)
            return
        self._finish_texts(events)
        block = self._blocks[event.index] = _Block(kind, self.parts)
        self.parts += 1
        if kind == "binary":
            block.box = stated
            block.kept = len(payload)
            events.append(Opened(block.part, kind, media_type=MEDIA_TYPE))
            return
        rest = _rest(stated)
        begun: dict[str, Json] | None = {SPEAKS: rest} if rest else None
        if kind == "tool_call":
            name, call_id = stated.get("name"), stated.get("id")
            opened = Opened(
                block.part,
                kind,
                name=name if isinstance(name, str) else None,
                call_id=call_id if isinstance(call_id, str) else f"toolu_{event.index}",
                meta=begun,
            )
            events.append(opened)
            if isinstance(said := stated.get("input"), dict) and said:
                self._say(block, msgspec.json.encode(said).decode(), events)
            return
        events.append(Opened(block.part, kind, meta=begun))
        if kind == "text":
            self._texts = block
        self._begin(block, event.index, stated, payload, events)

    def _begin(self, block: _Block, index: int, stated: dict[str, Loose], payload: bytes, events: list[Event]) -> None:
        """What a text or a thought says in its very beginning: usually nothing."""
        block.begin = block.said
        if isinstance(text := stated.get("text" if block.kind == "text" else "thinking"), str):
            self._say(block, text, events)
        if isinstance(signature := stated.get("signature"), str) and signature:
            block.signature.append(signature)
        if isinstance(citations := stated.get("citations"), list) and citations and self._fits(block, payload):
            block.cited.extend(citations)
        self._quicken(index, block)

    def _quicken(self, index: int | None, block: _Block) -> None:
        if index is not None and block.kind == "text":
            if block.part in self._halves:
                self._plain.pop(index, None)
            else:
                self._plain[index] = block

    def _say(self, block: _Block, text: str, events: list[Event]) -> None:
        if text := self._halves.whole(block.part, text):
            block.said += len(text)
            events.append(Delta(block.part, text))

    def _add(self, block: _Block, piece: Piece, payload: bytes, events: list[Event]) -> None:
        """More of a part. What its kind of block does not have is passed over; what is unknown is kept with it."""
        text: str | None = None
        match block.kind, piece.type:
            case "text", "text_delta":
                text = piece.text
            case "reasoning", "thinking_delta":
                text = piece.thinking
            case "tool_call", "input_json_delta":
                text = piece.partial_json
            case "text", "citations_delta" if piece.citation is not None and self._fits(block, payload):
                block.cited.append(piece.citation)
            case "reasoning", "signature_delta" if piece.signature and self._fits(block, payload):
                block.signature.append(piece.signature)
            case _ if piece.type not in DELTAS:
                self._keep(block, piece, payload)
        if text:
            self._say(block, text, events)

    def _keep(self, block: _Block, piece: Piece, payload: bytes) -> None:
        """More of a block that is carried whole: strings grow, lists grow, anything else is replaced."""
        if not self._fits(block, payload):
            return
        if piece.type == "input_json_delta":
            block.input.append(piece.partial_json or "")
            return
        if piece.type == "citations_delta":
            more: dict[str, Loose] = {"citations": [piece.citation]}
        else:
            more = members(payload, "delta", "type")
        for name, value in more.items():
            match block.box.get(name), value:
                case str(there), str(here):
                    block.box[name] = there + here
                case list(there), list(here):
                    block.box[name] = [*there, *here]
                case _:
                    block.box[name] = value

    def _fits(self, block: _Block, payload: bytes) -> bool:
        """Whether more of a block may be kept; what grows beyond `LIMIT` is no answer."""
        block.kept += len(payload)
        if block.kept > LIMIT:
            self.garble(f"a content block of more than {LIMIT} bytes that cannot be passed on in pieces")
        return block.kept <= LIMIT

    def _pause(self, block: _Block, events: list[Event]) -> None:
        """One text of a row is over, and what it cites is known."""
        if left := self._halves.left(block.part):
            self._say(block, left, events)
        block.citations += [_citation(citation, block.begin, block.said) for citation in block.cited]
        block.cited.clear()

    def _finish_texts(self, events: list[Event]) -> None:
        block, self._texts = self._texts, None
        if block is None:
            return
        for index in [index for index, open_block in self._blocks.items() if open_block is block]:
            del self._blocks[index]
        self._plain.clear()
        self._pause(block, events)
        self._close(block, events)

    def _close(self, block: _Block, events: list[Event]) -> None:
        if block.kind == "binary":
            if block.input:
                block.box["input"] = _value("".join(block.input))
            events.append(Chunk(block.part, msgspec.json.encode(block.box)))
        elif left := self._halves.left(block.part):
            events.append(Delta(block.part, left))
        elif block.kind == "tool_call" and not block.said:
            events.append(Delta(block.part, "{}"))  # a call without arguments has them empty
        meta: dict[str, Json] = {}
        if block.signature:
            meta["signature"] = "".join(block.signature)
        if block.citations:
            meta["citations"] = block.citations
        if block.box and block.kind != "binary":
            meta[SPEAKS] = block.box
        events.append(Closed(block.part, meta or None))

    def _end(self, event: StreamEvent, payload: bytes, events: list[Event]) -> None:
        """Why the message ends, and what it cost."""
        self._finish_texts(events)
        if event.delta is not None:
            if event.delta.stop_reason:
                self._reason = event.delta.stop_reason
            if more := members(payload, "delta", "type", "stop_reason"):
                events.append(Note("stop", more))
        if event.usage is not None:
            self._count(event.usage)
            self._accounted = True
            self._beside = _counts(members(payload, "usage", *Tokens.__struct_fields__))

    def over(self, rest: bytes, events: list[Event]) -> None:
        """The message is whole where all but `message_stop` has come: to ask for more of it would be to invent some."""
        if self._blocks:
            self.truncate()
        else:
            self._complete(events)

    def _complete(self, events: list[Event]) -> None:
        if not self._reason:
            self.truncate()
            return
        self.ended = True
        self._finish_texts(events)
        for index in sorted(self._blocks):
            self._close(self._blocks[index], events)
        if self._beside:
            events.append(Note("usage", self._beside))
        if self._accounted:
            events.append(self._usage())
        events.append(Finished(REASONS.get(self._reason, self._reason)))

    def _count(self, tokens: Tokens) -> None:
        for field in tokens.__struct_fields__:
            if (value := getattr(tokens, field)) is not None:
                setattr(self._tokens, field, value)

    def _usage(self) -> Usage:
        tokens = self._tokens
        details = tokens.output_tokens_details
        return Usage(
            (tokens.input_tokens or 0)
            + (tokens.cache_creation_input_tokens or 0)
            + (tokens.cache_read_input_tokens or 0),
            tokens.output_tokens or 0,
            "reported",
            cached=tokens.cache_read_input_tokens,
            reasoning=details.thinking_tokens if details is not None else None,
            cache_written=tokens.cache_creation_input_tokens,
        )


def _counts(usage: dict[str, Loose]) -> dict[str, Json]:
    """What else was counted than tokens, such as searches: objects with a number in them that is not 0."""
    return {
        name: value
        for name, value in usage.items()
        if isinstance(value, dict) and any(isinstance(number, int) and number for number in value.values())
    }


def _rest(stated: dict[str, Loose]) -> dict[str, Loose]:
    return {name: value for name, value in stated.items() if name not in WORDS and value is not None}


def _value(text: str) -> Json:
    """The JSON value a text holds; the text itself where it holds none."""
    try:
        return loosely(text.encode(errors="replace"))
    except NotAnObject:
        return text


def _citation(stated: Json, start: int, end: int) -> Json:
    """A citation in our words, with the original beside them."""
    place: dict[str, Json] = {"start": start, "end": end}
    if not isinstance(stated, dict):
        return {**place, "anthropic": stated}
    title = stated.get("title") or stated.get("document_title")
    source = stated.get("url") or stated.get("source")
    known = {
        "url": source if isinstance(source, str) and source.startswith(("http://", "https://")) else None,
        "title": title,
        "quote": stated.get("cited_text"),
    }
    return {**{name: value for name, value in known.items() if isinstance(value, str)}, **place, "anthropic": stated}
