"""What a request asks for, as far as routing wants to know: how long it is, code, language, tools, images, the window it needs.

Signs in the text, no model: each is looked for when it is first asked for, in the last user message, of which at most
`LOOKED_AT` characters at its beginning and at its end are read. Lengths are estimates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from penstock.core.events import Json
from penstock.core.language import language_of, words_of
from penstock.core.request import ChatRequest, Message, text_of

LOOKED_AT = 512
"""Characters at either end of the question that are read."""
FAR = 8 * 1024
"""Characters at its beginning among which fences are looked for, which is quick."""
IMAGE = 800
"""Tokens of a picture or a piece of sound, about."""
THINKING = frozenset({"medium", "high", "xhigh", "max"})
"""Efforts that are more than the usual."""

_PARTS = {"image_url": "images", "input_audio": "audio"}
_FENCES = ("```", "~~~", "#!/")
_MARKS = "=(){};<>[]_*"
"""Prose has one of them at most, and need not be looked at for signs."""
_CERTAIN = {
    "(": ("Traceback (most recent call last)", "public static void", "console.log(", "System.out.print", "fn main(", "func main(",
          "std::", "CREATE TABLE ", "useState("),
    "<": ("#include <", "<?php", "<!DOCTYPE", "</div>"),
    "_": ("__name__",),
    "*": ("SELECT * FROM",),
}  # fmt: skip
"""Signs by a mark that is there with them: a mark that is missing is found out many times as fast as a sign."""
_LIKELY = {
    "=": ("==", "!=", "=>", " = ", '="'),
    ">": ("->", "/>"),
    "<": ("</",),
    ";": ("();", "};", ";\n"),
    ")": ("):",),
    "{": ("){", ") {", "{\n"),
    "[": ("[0]", "[i]"),
    "&": ("&&",),
    "|": ("||",),
    "$": ("$(",),
}
_LIKELY_BESIDE = (
    "self.", "this.", "::", "return ", "def ", "function ", "const ", "let ", "class ", "import ", "elif ", "print(", "SELECT ",
    " FROM ", " WHERE ", "null", "None", "0x", "fn ", "func ", "void ", "int ", "async ", "await ",
)  # fmt: skip
"""Words of programs, which prose may have as well: they count beside one of the others."""
_ENOUGH = 4
"""Different likely signs that together are as good as a certain one."""
_TONGUES = """
    python javascript typescript c++ c# golang kotlin php perl haskell lua sql postgres sqlite bash powershell html css django
    flask fastapi numpy pandas pytest docker dockerfile terraform kubernetes git cobol fortran json yaml regex
"""
"""What is about programming, whatever stands beside it."""
_WORDS_TOO = "rust go c java swift ruby scala shell react vue assembler"
"""What has another meaning as well."""
_WORKS = """
    function functions code program script compile compiler compiles debug implement snippet parser endpoint iterator programm
    funktion skript fonction programme función programa código funzione codice função struct lifetime goroutine
"""
"""What is made of it, and nothing else."""
_WORKS_TOO = """
    class method query bug test tests exception loop decorator generator rewrite klasse schreibe fehler écris escribe scrivi escreva
    schrijf write напиши run import merge rebase branch container
"""
_PROGRAMMING = (
    "refactor refactoring unittest unittests stacktrace traceback segfault codebase docstring leetcode kubectl"
)
_tongues, _works = frozenset(_TONGUES.split()), frozenset(_WORKS.split())
_tongues_too, _all_works = frozenset(_WORDS_TOO.split()), _works.union(_WORKS_TOO.split())
_IN = frozenset({"in", "en", "em", "using", "with", "mit"})
_programming = frozenset(_PROGRAMMING.split())
_THOUGHT = (
    "step by step", "prove that", "proof of", "prove the", "derive the", "think hard", "think carefully", "paso a paso",
    "demuestra que", "passo a passo", "passo dopo passo", "beweise dass", "étape par étape", "démontre que", "schritt für schritt",
)  # fmt: skip
_THOUGHT_ELSEWHERE = ("докажи", "一步一步", "证明", "証明")
"""Where words do not stand apart, or change with what is beside them."""
_thinking = frozenset(phrase.partition(" ")[0] for phrase in _THOUGHT)


T = TypeVar("T")


class fact(Generic[T]):  # noqa: N801 - it stands where `property` does
    """Worked out when it is first asked for. `functools.cached_property` takes a lock for that before Python 3.12, as long as the rest."""

    def __init__(self, work: Callable[[Any], T]):
        self._work = work
        self._name = work.__name__
        self.__doc__ = work.__doc__

    def __get__(self, it: Any, kind: type | None = None) -> T:
        value: T = self._work(it)
        it.__dict__[self._name] = value
        return value


class Asked:
    """What one request asks for."""

    def __init__(self, request: ChatRequest):
        self._request = request

    @fact
    def question(self) -> str:
        """The last user message."""
        return self._request.prompt

    @fact
    def _seen(self) -> str:
        text = self.question
        return text if len(text) <= 2 * LOOKED_AT else f"{text[:LOOKED_AT]}\n{text[-LOOKED_AT:]}"

    @fact
    def _spoken(self) -> list[str]:
        """Its words, without what stands between them."""
        return words_of(self._seen)

    @fact
    def _words(self) -> frozenset[str]:
        return frozenset(self._spoken)

    @fact
    def tokens(self) -> int:
        """Of the last user message."""
        return _tokens(self.question)

    @fact
    def words(self) -> int:
        """Of the last user message, what stands between spaces and marks; counted in what is read of it, and the rest in proportion."""
        return round(len(self._spoken) * len(self.question) / max(1, len(self._seen)))

    @fact
    def features(self) -> frozenset[str]:
        """What not every target can do, by the names of `[models.NAME.features]`."""
        return wanted(self._request)

    @property
    def tools(self) -> bool:
        return "tools" in self.features

    @property
    def images(self) -> bool:
        return "images" in self.features

    @property
    def audio(self) -> bool:
        return "audio" in self.features

    @property
    def structured(self) -> bool:
        """JSON, be it of a schema or of any form."""
        form = self._request.params.get("response_format")
        return isinstance(form, dict) and form.get("type") in ("json_schema", "json_object")

    @fact
    def reasoning(self) -> bool:
        """More effort than usual is wanted, by a parameter or in so many words."""
        effort = self._request.params.get("reasoning_effort")
        if isinstance(effort, str):
            return effort in THINKING
        boxed = self._request.params.get("anthropic")
        if isinstance(boxed, dict) and isinstance(thinking := boxed.get("thinking"), dict):
            return thinking.get("type") != "disabled"
        if not _thinking.isdisjoint(self._words):
            spoken = " ".join(self._spoken)
            if any(phrase in spoken for phrase in _THOUGHT):
                return True
        return not self._seen.isascii() and any(sign in self._seen for sign in _THOUGHT_ELSEWHERE)

    @fact
    def code(self) -> bool:
        """There is code in it, or some is asked for."""
        text, words = self._seen, self._words
        if _fenced(text) or _fenced(self.question[:FAR]):
            return True
        if len([mark for mark in _MARKS if mark in text]) > 1 and _signed(text):
            return True
        if not words.isdisjoint(_programming):
            return True
        if not words.isdisjoint(_tongues):
            return not words.isdisjoint(_all_works)
        return not words.isdisjoint(_works) and not words.isdisjoint(_tongues_too) and self._names_a_tongue()

    def _names_a_tongue(self) -> bool:
        """Whether a word with another meaning stands as a language does: "in Go", "a Java program"."""
        spoken = self._spoken
        return any(
            word in _tongues_too and (before in _IN or after in _works)
            for before, word, after in zip(["", *spoken], spoken, [*spoken[1:], ""], strict=False)
        )

    @fact
    def language(self) -> str:
        """Of what is asked, as an ISO 639-1 code, whatever language the code in it is in; empty where it cannot be told."""
        if "```" not in self._seen:
            return language_of(self._seen, self._words)
        return language_of(" ".join(self._seen.split("```")[::2]))

    @fact
    def context(self) -> int:
        """Tokens of the window it needs: everything said before, the question, its tools, and the longest answer wanted."""
        return needed(self._request)

    @fact
    def hint(self) -> str:
        """What the client wants routing to know: of the header `Penstock-Route`, else of `metadata.route`; empty where nothing."""
        if self._request.hint or not self._request.params:
            return self._request.hint
        hint = next((metadata["route"] for metadata in _metadata(self._request.params) if metadata.get("route")), "")
        return hint if isinstance(hint, str) else ""


def _fenced(text: str) -> bool:
    # A single character is found many times as fast, and mostly is not there.
    return any(fence[0] in text and fence in text for fence in _FENCES)


def _signed(text: str) -> bool:
    for mark, signs in _CERTAIN.items():
        if mark in text and any(sign in text for sign in signs):
            return True
    likely = [sign for mark, signs in _LIKELY.items() if mark in text for sign in signs if sign in text]
    return bool(likely) and len(likely) + len([sign for sign in _LIKELY_BESIDE if sign in text]) >= _ENOUGH


def unhinted(request: ChatRequest) -> ChatRequest:
    """The request without `metadata.route`, which is meant for us: providers refuse what they do not know there."""
    params = request.params
    if not any("route" in metadata for metadata in _metadata(params)):
        return request
    params = _without_route(params)
    if isinstance(boxed := params.get("anthropic"), dict):
        params["anthropic"] = _without_route(boxed)
    return msgspec.structs.replace(request, params=params)


def _metadata(params: dict[str, Json]) -> list[dict[str, Json]]:
    """What a client says beside its question, in the words of OpenAI and of Anthropic."""
    boxed = params.get("anthropic")
    both = (params.get("metadata"), boxed.get("metadata") if isinstance(boxed, dict) else None)
    return [metadata for metadata in both if isinstance(metadata, dict)]


def _without_route(fields: dict[str, Json]) -> dict[str, Json]:
    metadata = fields.get("metadata")
    if not isinstance(metadata, dict) or "route" not in metadata:
        return dict(fields)
    rest: dict[str, Json] = {name: value for name, value in metadata.items() if name != "route"}
    kept = {name: value for name, value in fields.items() if name != "metadata"}
    return {**kept, "metadata": rest} if rest else kept


def wanted(request: ChatRequest) -> frozenset[str]:
    """What a request asks for that not every target can do, by the names of `[models.NAME.features]`."""
    wants = set()
    params = request.params
    if params.get("tools"):
        wants.add("tools")
    form = params.get("response_format")
    if isinstance(form, dict) and form.get("type") == "json_schema":
        wants.add("structured")
    for parts in [content for message in request.messages if isinstance(content := message.get("content"), list)]:
        for part in parts:
            if isinstance(part, dict) and isinstance(kind := part.get("type"), str) and kind in _PARTS:
                wants.add(_PARTS[kind])
    return frozenset(wants)


def needed(request: ChatRequest) -> int:
    """The tokens of window a request needs, about: all its messages, its tools, and the answer it allows for."""
    params = request.params
    letters, tokens = 0, 4 * len(request.messages) + _answer(params)
    for message in request.messages:
        content = message.get("content")
        if isinstance(content, str) and content.isascii():
            letters += len(content)
        else:
            tokens += _content(message)
        if calls := message.get("tool_calls"):
            letters += len(msgspec.json.encode(calls))
    if tools := params.get("tools"):
        letters += len(msgspec.json.encode(tools))
    return tokens + (letters + 3) // 4


def _answer(params: dict[str, Json]) -> int:
    for name in ("max_completion_tokens", "max_tokens"):
        most = params.get(name)
        if isinstance(most, int) and most > 0:
            return most
    return 0


def _content(message: Message) -> int:
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    seen = sum(isinstance(part, dict) and part.get("type") in _PARTS for part in parts)
    return _tokens(text_of(message)) + IMAGE * seen


def _tokens(text: str) -> int:
    """Tokens of a text: one for four bytes of UTF-8, told from its beginning. English comes out about right, CJK a little low."""
    if text.isascii():
        return (len(text) + 3) // 4
    sample = text[:LOOKED_AT]
    return round(len(text) * len(sample.encode("utf-8", "surrogatepass")) / len(sample) / 4)
