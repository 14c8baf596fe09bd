"""A body of OpenAI's older completions, read into a chat request: the prompt is what the user says, and the answer its completion.

Shapes follow openai-python (`types/completion_create_params.py`). What a chat cannot do is refused by its name.
"""

from __future__ import annotations

import msgspec
import orjson

from penstock.core.body import read_chat, read_object, take
from penstock.core.errors import Refused
from penstock.core.events import Json
from penstock.core.request import ChatRequest
from penstock.dialects.openai_fields import check_sampling, whole_number

MOST_LOGPROBS = 20
"""Alternatives of a token that chat gives at most; the older API gave five."""

_NOT_HERE = {
    "suffix": "the end of a text that is to be filled in has no words in a chat; ask an engine that can, such as llama.cpp at its /infill",
    "messages": "this is the API of prompts; send 'messages' to /v1/chat/completions",
    "tools": "the calls of tools have no words in this API; send 'tools' to /v1/chat/completions",
    "functions": "the calls of functions have no words in this API; send 'functions' to /v1/chat/completions",
}
"""Fields that are refused, and why."""

_SPELLED = {"messages[0]": "prompt", "top_logprobs": "logprobs"}
"""What has another name in a `ChatRequest`."""


ECHO_LONGEST = 1024 * 1024
"""Characters of prompts that all answers to a request repeat, to every reader."""


def read_completion(body: bytes) -> ChatRequest:
    """The request of a body. `echo` is what the answer begins with. Raises `Refused`."""
    fields = read_object(body)
    for name, why in _NOT_HERE.items():
        if fields.get(name) in (None, "", []):
            fields.pop(name, None)
        else:
            raise Refused("invalid_request", f"'{name}' is not taken here: {why}", param=name)
    prompt = _prompt(fields.pop("prompt", None))
    echo = take(fields, "echo", bool, False)
    logprobs = whole_number(fields, "logprobs", least=0, most=MOST_LOGPROBS)
    if logprobs is not None:
        if echo:
            raise Refused(
                "invalid_request",
                "'echo' with 'logprobs' wants the log probabilities of the prompt, which a chat does not give",
                param="echo",
            )
        fields["logprobs"] = True
        fields["top_logprobs"] = logprobs
    best_of = whole_number(fields, "best_of", least=1, most=128)
    answers = fields.get("n")
    wanted = answers if isinstance(answers, int) else 1
    if best_of is not None and best_of != wanted:
        raise Refused(
            "invalid_request",
            f"'best_of' can only be as many as 'n' is, {wanted}: every answer is told",
            param="best_of",
        )
    if fields.get("stream") is None:
        fields["stream"] = False
    if echo and len(prompt) * wanted > ECHO_LONGEST:
        raise Refused(
            "invalid_request",
            f"'echo' says the prompt again in each of the {wanted} answers; it does so up to {ECHO_LONGEST} characters in all",
            param="echo",
        )
    check_sampling(fields)
    fields["messages"] = [{"role": "user", "content": prompt}]
    request = msgspec.structs.replace(read_chat(fields), places=_SPELLED)
    return msgspec.structs.replace(request, echo=orjson.dumps({"prompt": prompt})) if echo else request


def _prompt(given: Json) -> str:
    if isinstance(given, list) and len(given) == 1 and isinstance(given[0], str):
        given = given[0]
    if isinstance(given, str):
        return given
    if not isinstance(given, list) or not given:
        raise Refused("invalid_request", "'prompt' is required: a text, or a list with one text", param="prompt")
    if all(isinstance(each, str) for each in given):
        raise Refused(
            "invalid_request",
            f"'prompt' holds {len(given)} texts, and a run answers one question; send a request for each",
            param="prompt",
        )
    raise Refused(
        "invalid_request", "'prompt' must be a text: token numbers mean something to one tokenizer only", param="prompt"
    )
