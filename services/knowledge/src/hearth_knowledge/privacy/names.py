"""How persons are called in texts, and finding those calls. Pure.

Names are compared as whole words without case and accents. A surname alone counts only where one person of the whole
directory has it, it is no common word, and it is written as a name; a first name alone only in a document that its
bearer wrote or got.
"""

# ruff: noqa: E501, SIM905 (lists of words)

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

_WORD = re.compile(r"[^\W\d_]+(?:['’`-][^\W\d_]+)*")
_TITLES = frozenset(
    "dr prof professor mr mrs ms miss sir dipl ing med phd mba herr frau hr fr m mme mlle sr sra srta don dona jr ii iii iv "
    "von van de der den del della di da dos du le la el zu zur zum".split()
)
_HONORIFICS = frozenset(
    "mr mrs ms miss dr prof professor herr herrn frau hr fr monsieur madame mme mlle m senor senora sr sra signor signora".split()
)
_BRACKETS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|<[^<>]*>|\"")
_ROLES = frozenset(
    "info office team support sales service admin contact kontakt mail noreply reply no post news newsletter hello help "
    "billing accounts account hr jobs press marketing group list staff desk room meeting calendar system notification "
    "notifications service customer kunden kundenservice buchhaltung sekretariat einkauf verkauf vertrieb it".split()
)
# Words that are names and words of the language; alone they never stand for a person.
_COMMON = frozenset(
    """able address all alt am an and any april art august autumn back bach baker bank baum bay beach bear bell berg best
    bird bishop black blank blau blue board bohne bond book braun bright brown bush busch butler butter can carpenter case
    chance church clay clean close cloud cook cooper cross dale day dean deep der die ernst falk farmer feld field finch
    fisher fischer flower ford forest forst fort fox frank frei freeman freund friend fuchs garden gardener gift glass gold
    good gray great green grey gross grun hall hand hard hart haus heart heil held herbst herr herz hill himmel hirsch hof
    hoffmann holiday holz hope horn house hunt hunter in june just kaiser kaufmann keller king klein knight koch konig kraft
    kurz lake land lang lee lehmann light linde little long love low mai major mark market marsh martin mason may meier
    meister mensch meyer miller moon moore morgen most muller nacht new noble nord north oak ohm page park parker peace
    pfeifer pope post potter power price prince rath read reich rein rich richter ring ritter river rock rose roth salt sand
    sauer schafer scharf schmidt schneider schon schreiber schulz schuster schwarz see short silver singer small smith snow
    sommer sonne spring stark stein stern stone storm strong such summer sun swan tag tailor taylor temple thal tag tree
    turner vogel voigt wagner walker wall wald warm water weber weiss weise west white wild will wind winter wirth wise wolf
    wood wright wunder young zimmer zimmermann bauer becker frost grace mercy faith joy lily ruby amber daisy iris violet
    dawn eve june mark rob bill will jack drew grant chase hunter max pat sue ray art bob dick guy gene rich dan ron van
    don tom nick miles dale glen cliff norm chuck frank ernest angel jesus maria rosa luz cruz paz sol mar flores santos
    blanc noir petit grand roux leblanc legrand fontaine rossi bianchi verde""".split()
)  # fmt: skip


def fold_word(word: str) -> str:
    """Return a word without case and accents."""
    if word.isascii():
        return word.lower()
    plain = unicodedata.normalize("NFKD", word.casefold())
    return "".join(char for char in plain if not unicodedata.combining(char))


@dataclass(frozen=True, slots=True)
class PersonRecord:
    """A person of the directory: every name and address that some document gave."""

    id: str
    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


def split_name(name: str) -> tuple[str, ...]:
    """Return a display name's words in the order first to last, folded, without titles; () for what is no name."""
    plain = _BRACKETS.sub(" ", name)
    if "@" in plain:
        plain = plain.partition("@")[0].replace(".", " ").replace("_", " ")
    last, comma, first = plain.partition(",")
    if comma and first.strip():
        plain = f"{first} {last}"
    words = tuple(fold_word(match[0]) for match in _WORD.finditer(plain))
    while words and words[0] in _TITLES and words[0] not in {"van", "von", "de", "der", "di", "da", "la", "le", "el"}:
        words = words[1:]
    if any(char.isdigit() for char in plain) or len(words) > 6 or all(word in _ROLES for word in words):
        return ()
    return tuple(word for word in words if len(word) > 1) or ()


def name_of_address(address: str) -> tuple[str, ...]:
    """Return the words of "first.last@..." where both read like names."""
    local = address.partition("@")[0].partition("+")[0]
    words = tuple(fold_word(word) for word in re.split(r"[._-]", local))
    sound = len(words) == 2 and all(len(word) > 2 and word.isalpha() and word not in _ROLES for word in words)
    return words if sound else ()


def forms_of(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the sequences of words that name a person fully: in order, last first, first and last."""
    if len(words) < 2:
        return
    yield words
    yield (words[-1], *words[:-1])
    if len(words) > 2:
        core = tuple(word for word in words if word not in _TITLES)
        yield (words[0], words[-1])
        yield (words[-1], words[0])
        yield (*words[1:], words[0])
        if len(core) > 1:
            yield core


@dataclass(slots=True)
class Directory:
    """Who may be meant by which words. `ids` keeps the order in which persons became known."""

    full: dict[tuple[str, ...], list[str]] = field(default_factory=lambda: defaultdict(list))
    last: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    first: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    addresses: dict[str, str] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)
    known: dict[str, tuple[set[str], set[str]]] = field(default_factory=dict)
    """id -> (folded first names, folded last names)"""

    def add(self, record: PersonRecord) -> None:
        """Take a person, or more names of one."""
        firsts, lasts = self.known.setdefault(record.id, (set(), set()))
        for address in record.addresses:
            self.addresses.setdefault(address.strip().lower(), record.id)
        for words in (*map(split_name, record.names), *map(name_of_address, record.addresses)):
            for form in forms_of(words):
                self.starts[form[0]] = max(self.starts.get(form[0], 0), len(form))
                if record.id not in self.full[form]:
                    self.full[form].append(record.id)
        for words in map(split_name, record.names):
            if len(words) > 1:
                self.first[words[0]].add(record.id)
                self.last[words[-1]].add(record.id)
                firsts.add(words[0])
                lasts.add(words[-1])


@dataclass(frozen=True, slots=True)
class Call:
    """A person called in a text: [start, end) in code points; `person` is None where several may be meant."""

    start: int
    end: int
    person: str | None


def find_calls(text: str, *, directory: Directory, present: Collection[str] = ()) -> tuple[Call, ...]:
    """Return where persons are called, longest first at each place. `present` are ids of the document's own people."""
    words = list(_WORD.finditer(text))
    folded = [fold_word(match[0]) for match in words]
    near = _near(directory, present)
    calls: list[Call] = []
    at = 0
    while at < len(words):
        found = _full_at(text, words, folded, at, directory=directory, present=present) or _single_at(
            text, words, folded, at, directory=directory, near=near
        )
        if found is None:
            at += 1
            continue
        length, start, end, person = found
        calls.append(Call(start, end, person))
        at += length
    return tuple(calls)


def _near(directory: Directory, present: Collection[str]) -> Mapping[str, set[str]]:
    near: dict[str, set[str]] = defaultdict(set)
    for person in present:
        firsts, lasts = directory.known.get(person, (set(), set()))
        for word in firsts | lasts:
            near[word].add(person)
    return near


_Found = tuple[int, int, int, str | None]


def _full_at(
    text: str, words: list[re.Match[str]], folded: list[str], at: int, *, directory: Directory, present: Collection[str]
) -> _Found | None:
    longest = directory.starts.get(folded[at], 0)
    for length in range(min(longest, len(words) - at), 1, -1):
        if any(not _joined(text, words[n], words[n + 1]) for n in range(at, at + length - 1)):
            continue
        for ending, cut in _endings(folded[at + length - 1]):
            ids = directory.full.get((*folded[at : at + length - 1], ending))
            if ids:
                person = next((one for one in ids if one in present), ids[0])
                return length, words[at].start(), words[at + length - 1].end() - cut, person
    return None


def _joined(text: str, one: re.Match[str], other: re.Match[str]) -> bool:
    """Tell whether two words may be one name: blanks, a comma or a dot between them, but no end of a sentence."""
    between = text[one.end() : other.start()]
    if between.startswith(". "):
        return len(one[0]) <= 2
    return len(between) <= 3 and all(char in " \t\n,._+\u00a0" for char in between)


def _endings(folded: str) -> Iterator[tuple[str, int]]:
    """Yield a word as it is, and without a genitive: (folded, characters cut off the end)."""
    yield folded, 0
    for mark in ("'s", "’s", "'", "’"):
        if folded.endswith(mark):
            yield folded[: -len(mark)], len(mark)
    if folded.endswith("s") and len(folded) > 3:
        yield folded[:-1], 1


def _single_at(
    text: str,
    words: list[re.Match[str]],
    folded: list[str],
    at: int,
    *,
    directory: Directory,
    near: Mapping[str, set[str]],
) -> _Found | None:
    word = words[at][0]
    if len(word) < 2 or not word[0].isupper():
        return None
    titled = (
        at > 0 and folded[at - 1] in _HONORIFICS and len(text[words[at - 1].end() : words[at].start()].strip(". ")) == 0
    )
    for ending, cut in _endings(folded[at]):
        ids = near.get(ending) or (directory.last.get(ending) if titled or len(ending) > 2 else None)
        if not ids or (ending in _COMMON and not titled):
            continue
        alone = ending not in near
        if alone and not titled and (len(ids) > 1 or ending in directory.first):
            continue
        return 1, words[at].start(), words[at].end() - cut, next(iter(ids)) if len(ids) == 1 else None
    return None


def merge_names(known: Iterable[str], more: Iterable[str], *, limit: int = 20) -> tuple[str, ...]:
    """Return names without repeats, the earliest first."""
    return tuple(dict.fromkeys((*known, *more)))[:limit]
