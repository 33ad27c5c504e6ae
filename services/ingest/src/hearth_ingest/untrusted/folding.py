"""Text as a reader's eye takes it, for comparing: without case, accents, width, look-alikes and odd spacing.

Every fold keeps for each character where it stood, so that a match can be cut out of the original.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# Letters of other scripts that look like Latin ones; the rest of a script is left as it is.
_LOOK_ALIKES = str.maketrans(
    "абвгеёзикмнорстухцѕіјԁԛԝһӏαβγειικμνορτυχωɑɡɩɪʀꜱᴀᴄᴅᴇᴋᴍɴᴏᴘᴛᴜᴠᴡᴢ",
    "a6bree3ukmhopctyxusijdqwhlabyeiikuvoptuxwagiirsacdekmnoptuvwz",
)
_LEET = str.maketrans("013457@$!|", "oieastasil")
_SPACED = re.compile(r"(?<![^\W_])(?:[^\W_][ \t._*~|/-]{1,3}){7,}[^\W_](?![^\W_])")
_MIXED = re.compile(r"[a-z][013457@$!|]+[a-z]|\b[013457@$!|]+[a-z]{2}|[a-z]{2}[013457@$!|]+\b")
_GERMAN = {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ı": "i"}


@dataclass(frozen=True, slots=True)
class Folded:
    """A folded text; `places[i]` is the code point of the original that character i came from."""

    text: str
    places: tuple[int, ...]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the original's [start, end) for a span of the folded text that is not empty."""
        return self.places[start], self.places[end - 1] + 1


def fold(text: str) -> Folded:
    """Return the text in lower-case Latin letters where it looks like them, white space as single blanks."""
    chars: list[str] = []
    places: list[int] = []
    for place, char in enumerate(text):
        for folded in _fold_char(char):
            if folded == " " and (not chars or chars[-1] == " "):
                continue
            chars.append(folded)
            places.append(place)
    return Folded("".join(chars), tuple(places))


def _fold_char(char: str) -> Iterable[str]:
    if char.isascii():
        return char.lower() if not char.isspace() else "\n" if char == "\n" else " "
    if unicodedata.category(char) in {"Cf", "Mn", "Me"}:
        return ""
    if char.isspace():
        return " "
    lower = char.lower()
    if lower in _GERMAN:
        return _GERMAN[lower]
    plain = unicodedata.normalize("NFKD", lower).casefold()
    return "".join(c for c in plain if not unicodedata.combining(c)).translate(_LOOK_ALIKES)


def unwrap(folded: Folded) -> Folded:
    """Return the text with line breaks as blanks, so that a sentence that was wrapped is one sentence."""
    return Folded(folded.text.replace("\n", " "), folded.places)


def readings(folded: Folded) -> Iterator[Folded]:
    """Yield other ways to read a text that was written to pass by a filter: digits as letters, letters set apart."""
    if _MIXED.search(folded.text):
        # "11" is two l, one alone an i: "a11 prev1ous".
        yield Folded(folded.text.replace("11", "ll").translate(_LEET), folded.places)
    for match in _SPACED.finditer(folded.text):
        kept = [at for at in range(match.start(), match.end()) if folded.text[at].isalnum()]
        letters = "".join(folded.text[at] for at in kept).translate(_LEET)
        yield Folded(letters, tuple(folded.places[at] for at in kept))
