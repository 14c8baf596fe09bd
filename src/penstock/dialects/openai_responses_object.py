"""The response object and its items, as an answer has them at any moment: running, complete, cut or failed.

A part of choice 0 is an item: text and refusal a `message` with one content part, reasoning a `reasoning` item with one summary part,
a tool call a `function_call`; a binary part of the media type `FOREIGN` is an item as its provider wrote it. Reasoning is told as a
summary, whoever made it, because that is where clients look for it; its signature is its `encrypted_content`.

Parts of other choices, other binary parts, notes and results of server tools have no words here.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.core.carried import BLOCK
from penstock.core.errors import TABLE
from penstock.core.events import Cancelled, Failed, Fault, Finished, Json, Kind, Opened, Terminal, Usage
from penstock.core.frame import View
from penstock.core.signed_call import signed_id
from penstock.core.snapshot import PartSoFar, Snapshot
from penstock.core.turn import call_id
from penstock.dialects.openai_common import error
from penstock.dialects.openai_responses_input import NAME
from penstock.dialects.openai_responses_request import DEFAULTS

ANSWER = "resp_"
FOREIGN = BLOCK % NAME
PROGRESS: dict[str, tuple[str, ...]] = {
    "code_interpreter_call": ("in_progress", "interpreting", "completed"),
    "file_search_call": ("in_progress", "searching", "completed"),
    "image_generation_call": ("in_progress", "generating", "completed"),
    "mcp_call": ("in_progress", "completed", "failed"),
    "mcp_list_tools": ("in_progress", "completed", "failed"),
    "web_search_call": ("in_progress", "searching", "completed"),
}
"""How far an item of a tool that runs at the provider may be said to have come: `response.ITEM.STATE`."""
INCOMPLETE = {
    "length": "max_output_tokens",
    "model_context_window_exceeded": "max_output_tokens",
    "content_filter": "content_filter",
    "refusal": "content_filter",
}
"""Reasons for which an answer ends that are no good end, and what they are called here."""

_CODES = {"previous_not_found": "previous_response_not_found"}
"""What clients go by that OpenAI calls otherwise."""
_PREFIXES: dict[Kind, str] = {"reasoning": "rs", "tool_call": "fc"}

Object = dict[str, Json]
Meta = dict[str, Json] | None


def item_id(view: View, opened: Opened) -> str:
    """Of a part; a foreign item has its own."""
    return f"{_PREFIXES.get(opened.kind, 'msg')}_{view.run.removeprefix('st_')}_{opened.part}"


def shown(opened: Opened) -> bool:
    """Whether a part is an item."""
    return opened.choice == 0 and (opened.kind != "binary" or opened.media_type == FOREIGN)


def foreign_item(data: bytes | bytearray) -> Object | None:
    """The item in a foreign part; None where there is none."""
    try:
        value: Json = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("type"), str) else None


def announced(opened: Opened) -> Object | None:
    """A foreign item as it was when it was added; None where nothing was said of it before it was done."""
    own = opened.meta.get(NAME) if opened.meta and opened.media_type == FOREIGN else None
    known = isinstance(own, dict) and all(isinstance(own.get(name), str) for name in ("id", "type"))
    return own if known and isinstance(own, dict) else None


def content_part(opened: Opened, said: str, *, meta: Meta = None, logprobs: Sequence[Json] = ()) -> Object:
    """What a message item holds."""
    if opened.kind == "refusal":
        return {"type": "refusal", "refusal": said}
    return {
        "type": "output_text",
        "text": said,
        "annotations": list(citations_of(meta, said)),
        "logprobs": list(logprobs),
    }


def item_of(
    view: View, opened: Opened, said: str | None, *, status: str, meta: Meta = None, logprobs: Sequence[Json] = ()
) -> Object:
    """A part as an item; `said` is None for one that has just been added, whose content is not there yet."""
    rest = meta.get(NAME) if meta else None
    head: Object = {"id": item_id(view, opened), "type": "message", "status": status}
    if opened.kind == "reasoning":
        head["type"] = "reasoning"
        head["summary"] = [] if said is None else [{"type": "summary_text", "text": said}]
        signature = meta.get("signature") if meta else None
        head["encrypted_content"] = signature if isinstance(signature, str) else None
    elif opened.kind == "tool_call":
        head["type"] = "function_call"
        head["call_id"] = signed_id(call_id(opened), opened.meta)
        head["name"] = opened.name or ""
        head["arguments"] = said or ""
    else:
        head["role"] = "assistant"
        head["content"] = [] if said is None else [content_part(opened, said, meta=meta, logprobs=logprobs)]
    return {**rest, **head} if isinstance(rest, dict) else head


def closed_status(meta: Meta) -> str:
    """The status of an item that is over."""
    return "incomplete" if meta and (meta.get("cut") or meta.get("finish_reason") in INCOMPLETE) else "completed"


def citations_of(meta: Meta, said: str) -> Sequence[Object]:
    """The citations of a text: the provider's own where it speaks Responses. Where nobody says for which words one is, it is for all."""
    cited = meta.get("citations") if meta else None
    told: list[Object] = []
    for citation in cited if isinstance(cited, list) else ():
        if not isinstance(citation, dict):
            continue
        own, url, title = citation.get(NAME), citation.get("url"), citation.get("title")
        if isinstance(own, dict):
            told.append(own)
        elif isinstance(url, str):
            start, end = (citation.get(edge) for edge in ("start", "end"))
            told.append(
                {
                    "type": "url_citation",
                    "url": url,
                    "title": title if isinstance(title, str) else url,
                    "start_index": start if isinstance(start, int) else 0,
                    "end_index": end if isinstance(end, int) else len(said),
                }
            )
        elif isinstance(title, str):
            told.append({"type": "file_citation", "file_id": "", "filename": title, "index": len(said)})
    return told


def token_logprobs(raw: msgspec.Raw) -> list[Json]:
    """The tokens in a provider's log probabilities: a list, or chat's object with lists in it."""
    value: Json = msgspec.json.decode(raw)
    lists = [value.get("content"), value.get("refusal")] if isinstance(value, dict) else [value]
    return [token for tokens in lists if isinstance(tokens, list) for token in tokens]


class Words:
    """What every response object of one answer repeats: who it is, and what was asked."""

    __slots__ = ("_asked", "_id", "background", "created", "model")

    def __init__(self, view: View):
        self._id = view.answer_id(ANSWER)
        self._asked: Object = msgspec.json.decode(view.echo) if view.echo else DEFAULTS
        self.background = self._asked.get("background") is True
        self.created = view.created
        self.model = view.model

    def response(
        self,
        status: str,
        output: Sequence[Json] = (),
        *,
        usage: Usage | None = None,
        error: Object | None = None,
        incomplete: str | None = None,
        completed_at: int | None = None,
    ) -> Object:
        return {
            "id": self._id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "completed_at": completed_at,
            "error": error,
            "incomplete_details": {"reason": incomplete} if incomplete else None,
            "model": self.model,
            "output": list(output),
            "usage": _usage(usage) if usage else None,
            **self._asked,
        }

    def ended(self, end: Terminal, reason: str, output: Sequence[Json], usage: Usage | None, at: int) -> Object:
        """The answer once it is over. `reason` is why choice 0 ended, `at` milliseconds since it began.

        A cancelled answer has an error too: whoever reads nothing but that member does not take it for a complete one.
        """
        match end:
            case Finished():
                why = INCOMPLETE.get(reason)
                if why is not None:
                    return self.response("incomplete", output, usage=usage, incomplete=why)
                return self.response("completed", output, usage=usage, completed_at=self.created + at // 1000)
            case Failed(broken):
                return self.response("failed", output, usage=usage, error=failure(broken))
            case Cancelled(by):
                return self.response(
                    "cancelled",
                    output,
                    usage=usage,
                    error=_error("server_error", "cancelled", f"the answer was cancelled ({by})"),
                )


def whole(snapshot: Snapshot, view: View) -> Object:
    """The response object of a run at any moment."""
    words = Words(view)
    if snapshot.started:
        words.created, words.model = snapshot.started.created, snapshot.started.model
    output = _output(snapshot.parts, view)
    if snapshot.end is None:
        return words.response("in_progress" if snapshot.started else "queued", output, usage=snapshot.usage)
    return words.ended(snapshot.end, snapshot.finish_reason(), output, snapshot.usage, snapshot.at)


def _output(parts: Sequence[PartSoFar], view: View) -> list[Json]:
    """Every item."""
    output: list[Json] = []
    for part in parts:
        opened = part.opening()
        if not shown(opened):
            continue
        if part.kind == "binary":
            if (own := foreign_item(part.data) if part.data else announced(opened)) is not None:
                output.append(own)
            continue
        logprobs = [token for raw in part.logprobs for token in token_logprobs(raw)]
        status = closed_status(part.meta) if part.closed else "in_progress"
        output.append(item_of(view, opened, part.text, status=status, meta=part.meta, logprobs=logprobs))
    return output


def failure(fault: Fault) -> Object:
    """The `error` of a response: one of OpenAI's codes, and penstock's own as `reason`."""
    row = TABLE.get(fault.code)
    code = "server_error"
    if row and row.status == 429:
        code = "rate_limit_exceeded"
    elif row and 400 <= row.status < 500:
        code = "invalid_prompt"
    return _error(code, fault.code, fault.message, fault.param)


def _error(code: str, reason: str, message: str, param: str | None = None) -> Object:
    return {"code": code, "message": message, "reason": reason, "param": param}


def refusal(fault: Fault) -> Object:
    """The `error` of a response that never was: the body of an HTTP error."""
    return {**error(fault), "code": _CODES.get(fault.code, fault.code)}


def _usage(usage: Usage) -> Object:
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached or 0, "cache_write_tokens": usage.cache_written or 0},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
        "total_tokens": usage.input + usage.output,
    }
