"""Which natural language a text is in: by its script, and within the Latin one by a vote of its commonest words.

A guess for routing, and pure. By script only the beginning of a text is looked at; what is counted in words is the caller's to bound.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Collection

MOST_LETTERS = 128
MOST_FOREIGN = 48

_COMMON = {
    "en": "the and is are of to what how why please with for this that you your can could write me my hello hi a an in on it "
    "does do who when which tell give explain thanks from",
    "de": "der die das und ist sind ein eine einen nicht ich du sie wir wie was warum bitte mit für von den dem zu auf im mir "
    "hallo kannst schreibe schreib wer wann erkläre danke auch über",
    "fr": "le la les et est sont un une des du que qui pourquoi comment je tu vous nous avec pour dans pas ce cette bonjour "
    "merci quel quelle sur moi écris explique peux au aux",
    "es": "el la los las y es son un una que por para con cómo como qué no mi tu usted hola gracias del al en se su porque "
    "cuál dónde escribe explica puedes",
    "it": "il lo la gli le e è sono un una di che per con come perché non mi ti ciao grazie del della nel questo cosa "
    "puoi scrivi spiega quale sul",
    "pt": "o a os as e é são um uma de que por para com como não me você olá obrigado obrigada do da no na em isso qual "
    "quais escreva explique pode",
    "nl": "de het een en is zijn van dat niet ik je jij wij hoe wat waarom met voor op aan te hallo dank schrijf kun kan "
    "leg uit dit deze mij wie",
}
_VOTES: dict[str, tuple[str, ...]] = {}
for _language, _words in _COMMON.items():
    for _word in _words.split():
        _VOTES[_word] = (*_VOTES.get(_word, ()), _language)
_VOTERS = frozenset(_VOTES)
_VOTE = 420  # has a half, a third … a seventh

_SCRIPTS = (
    (0x0370, 0x03FF, "el"),
    (0x0400, 0x052F, "ru"),
    (0x0590, 0x05FF, "he"),
    (0x0600, 0x06FF, "ar"),
    (0x0900, 0x097F, "hi"),
    (0x0E00, 0x0E7F, "th"),
    (0x3040, 0x30FF, "ja"),
    (0x4E00, 0x9FFF, "zh"),
    (0xAC00, 0xD7AF, "ko"),
)
_EDGES_OF_SCRIPTS = [chr(edge) for first, last, _ in _SCRIPTS for edge in (first, last + 1)]
_BETWEEN = ["", *(name for _, _, language in _SCRIPTS for name in (language, ""))]
"""What stands before the first of these edges, between two of them, and behind the last."""
_UKRAINIAN = frozenset("іїєґІЇЄҐ")
_MARKS = ".,;:!?()[]{}\"'`-"
_MARKS_TOO = "¿¡«»„“”‘’…"
_SPACES = str.maketrans(_MARKS, " " * len(_MARKS))
_SPACED = bytes(ord(" ") if chr(byte) in _MARKS else byte for byte in range(256))

LANGUAGES = (*_COMMON, *dict.fromkeys(language for _, _, language in _SCRIPTS), "uk")
"""Every language that is told, by its ISO 639-1 code."""


def words_of(text: str) -> list[str]:
    """Its words in lower case, without what stands between them."""
    text = text.lower()
    if text.isascii():
        return text.translate(_SPACES).split()
    for mark in _MARKS_TOO:
        text = text.replace(mark, " ")
    # Bytes are translated a hundred times as fast as characters beyond ASCII.
    return text.encode("utf-8", "surrogatepass").translate(_SPACED).decode("utf-8", "surrogatepass").split()


def language_of(text: str, words: Collection[str] | None = None) -> str:
    """The ISO 639-1 code of a text's language; empty where it cannot be told. `words` are its `words_of`, where they are known."""
    if not text.isascii() and (found := _by_script(text)):
        return found
    return _by_words(words_of(text) if words is None else words)


def _by_script(text: str) -> str:
    """The language whose script most of the letters beyond Latin are in, where those are a good part of the text."""
    text = text[:MOST_LETTERS]
    foreign = [letter for letter in text if letter > "\u0250"]
    if 2 * len(foreign) < len(text) - len(foreign) - text.count(" "):
        return ""  # a name, or a quotation
    counts: dict[str, int] = {}
    for letter in dict.fromkeys(foreign[:MOST_FOREIGN]):
        language = _BETWEEN[bisect(_EDGES_OF_SCRIPTS, letter)]
        counts[language] = counts.get(language, 0) + 1
    counts.pop("", None)
    if not counts:
        return ""
    if counts.get("ja", 0) * 8 >= counts.get("zh", 0) and "ja" in counts:
        return "ja"  # what is written with kana has Chinese characters too
    best = max(counts, key=lambda language: counts[language])
    return "uk" if best == "ru" and not _UKRAINIAN.isdisjoint(foreign) else best


def _by_words(words: Collection[str]) -> str:
    """The language that most of these words are common in; each counts once, and in parts where it is of several."""
    votes = dict.fromkeys(_COMMON, 0)
    for word in _VOTERS.intersection(words):
        languages = _VOTES[word]
        share = _VOTE // len(languages)
        for language in languages:
            votes[language] += share
    best = max(_COMMON, key=votes.__getitem__)
    return best if votes[best] else ""
