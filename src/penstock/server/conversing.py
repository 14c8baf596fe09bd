"""A question that goes on from an earlier answer: that answer is found, what was said before is put in front, and the turn is kept.

What holds for one answer alone, its instructions, is not carried on (OpenAI, "Conversation state").
"""

from __future__ import annotations

import asyncio

import msgspec

from penstock.core.cursor import run_of
from penstock.core.errors import Refused
from penstock.core.frame import Dialect
from penstock.core.lifecycle import Phase
from penstock.core.request import ChatRequest, Principal
from penstock.flow.conversations import Recent, Turn
from penstock.flow.runs import Runs

PARAM = "previous_response_id"
OFF_LOOP = 256 * 1024
"""Conversations above so many bytes are read in a thread."""


async def taken_up(
    runs: Runs,
    dialect: Dialect,
    request: ChatRequest,
    principal: Principal,
    *,
    most: int,
    recent: Recent | None = None,
) -> tuple[ChatRequest, Turn | None]:
    """The request with all that was said before it, and its turn, which the caller holds; none where nobody may go on from it.

    `recent` is what a connection can go on from whether or not it is kept. Raises `Refused`: `previous_not_found`,
    `not_ended`, and `body_too_large` for a conversation beyond `most` bytes, as one request could not say it either.
    """
    before = _earlier(runs, dialect, request.previous, principal, recent) if request.previous else None
    goes_on = request.keep or recent is not None
    if before is None and not goes_on:
        return request, None
    own = request.messages[request.instructions :]
    turn = runs.conversations.begin(own, before)
    if turn.length > most:
        runs.conversations.release(turn)
        raise Refused(
            "body_too_large",
            f"the conversation has grown to {turn.length} bytes; this server takes {most}. Begin another one",
            param=PARAM,
        )
    if before is not None:
        read = before.messages
        try:
            past = await asyncio.to_thread(read) if before.length > OFF_LOOP else read()
        except BaseException:
            runs.conversations.release(turn)
            raise
        said = (*request.messages[: request.instructions], *past, *own)
        request = msgspec.structs.replace(request, messages=said, recalled=len(past))
    if goes_on:
        return request, turn
    runs.conversations.release(turn)
    return request, None


def _earlier(runs: Runs, dialect: Dialect, answer: str, principal: Principal, recent: Recent | None) -> Turn:
    """The turn to go on from, with its answer. Raises `Refused`."""
    run = run_of(answer, dialect.traits.answer_prefix)
    handle = runs.by_id.get(run)
    turn = recent.find(run) if recent is not None else None
    if turn is None and handle is not None and handle.principal == principal and handle.request.keep:
        turn = handle.turn
    if turn is None or (turn.answered is None and handle is None):
        raise Refused("previous_not_found", f"Previous response with id '{answer[:80]}' not found.", param=PARAM)
    if turn.answered is None and handle is not None:
        if handle.state is not Phase.ENDED:
            raise Refused(
                "not_ended", f"'{answer}' is still being answered; wait for its end, or cancel it", param=PARAM
            )
        said = handle.log.snapshot()
        if said.elided:
            raise Refused(
                "previous_not_found", f"the beginning of '{answer}' is no longer held (max_run_bytes)", param=PARAM
            )
        runs.conversations.settle(turn, said)
    return turn
