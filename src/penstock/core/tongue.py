"""Which natural language a text is in: by its script, and within the Latin one by a vote of its commonest words.

A guess for routing, made from the beginning of a text: pure, and bounded however long the text is.
"""

from __future__ import annotations

LOOKED_AT = 2048
"""Characters at the beginning of a text that are looked at."""
MOST_WORDS = 96
MOST_LETTERS = 256
MOST_FOREIGN = 96

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
_UKRAINIAN = frozenset("іїєґІЇЄҐ")
_EDGES = ".,;:!?¿¡()[]{}\"'«»„“”‘’…*_`-"

LANGUAGES = (*_COMMON, *dict.fromkeys(language for _, _, language in _SCRIPTS), "uk")
"""Every language that is told, by its ISO 639-1 code."""


def language_of(text: str) -> str:
    """The ISO 639-1 code of a text's language; empty where it cannot be told."""
    looked_at = text[:LOOKED_AT]
    if not looked_at.isascii() and (found := _by_script(looked_at)):
        return found
    return _by_words(looked_at)


def _by_script(text: str) -> str:
    """The language whose script most of the letters beyond Latin are in, where those are a good part of the text."""
    text = text[:MOST_LETTERS]
    foreign = [letter for letter in text if letter > "\u0250"]
    if 2 * len(foreign) < len(text) - len(foreign) - text.count(" "):
        return ""  # a name, or a quotation
    counts: dict[str, int] = {}
    for letter in foreign[:MOST_FOREIGN]:
        code = ord(letter)
        for first, last, language in _SCRIPTS:
            if code <= last:
                if code >= first:
                    counts[language] = counts.get(language, 0) + 1
                break
    if not counts:
        return ""
    if counts.get("ja", 0) * 8 >= counts.get("zh", 0) and "ja" in counts:
        return "ja"  # what is written with kana has Chinese characters too
    best = max(counts, key=lambda language: counts[language])
    return "uk" if best == "ru" and not _UKRAINIAN.isdisjoint(foreign) else best


def _by_words(text: str) -> str:
    votes: dict[str, float] = {}
    for word in text.lower().split(None, MOST_WORDS)[:MOST_WORDS]:
        if languages := _VOTES.get(word) or _VOTES.get(word.strip(_EDGES)):
            share = 1 / len(languages)
            for language in languages:
                votes[language] = votes.get(language, 0.0) + share
    return max(votes, key=lambda language: votes[language]) if votes else ""
