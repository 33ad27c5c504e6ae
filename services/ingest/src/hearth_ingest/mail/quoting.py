"""A mail's text in parts: what its author wrote, what he quoted, and his signature."""

import re
from dataclasses import dataclass
from typing import Literal

TextRole = Literal["body", "quoted", "signature"]

_QUOTE = re.compile(r" ?>")
# "On Mon, 5 Oct 2026 at 09:12, Anna wrote:" in the languages that mail programs speak.
_ATTRIBUTION = re.compile(
    r"(?:On\b.{5,300}\bwrote|Am\b.{5,300}\bschrieb\b.{0,200}|Le\b.{5,300}\ba écrit|El\b.{5,300}\bescribió|"
    r"Il\b.{5,300}\bha scritto|Em\b.{5,300}\bescreveu|Op\b.{5,300}\bschreef\b.{0,200}|Den\b.{5,300}\bskrev\b.{0,200}|"
    r".{3,200}\b(?:writes|wrote|schrieb|a écrit|schreef|skrev))\s?:\s*$",
    re.DOTALL,
)
_STARTS = re.compile(r"(?:On|Am|Le|El|Il|Em|Op|Den)\b")
_RULE = re.compile(
    r"\s*(?:-{2,}\s*(?:Original Message|Original-Nachricht|Ursprüngliche Nachricht|Message d'origine|Mensaje original|"
    r"Messaggio originale|Oorspronkelijk bericht|Forwarded message|Weitergeleitete Nachricht|Message transféré|"
    r"Forwarded by .{1,80})\s*-{2,}|Begin forwarded message:|Anfang der weitergeleiteten Nachricht:|"
    r"Début du message réexpédié\s?:)\s*$",
    re.IGNORECASE,
)
_OUTLOOK_FROM = re.compile(r"\s*\*?(?:From|Von|De|Da|Van|Från|Fra)\s?:\*?\s+\S")
_OUTLOOK_NEXT = re.compile(
    r"\s*\*?(?:Sent|Date|To|Subject|Cc|Gesendet|Datum|An|Betreff|Envoyé|Date|À|Objet|Enviado|Para|Asunto|Inviato|A|"
    r"Oggetto|Verzonden|Aan|Onderwerp|Skickat|Till|Ämne|Sendt|Til|Emne)\s?:",
)
_MAX_SIGNATURE_LINES = 15


@dataclass(frozen=True, slots=True)
class TextPart:
    """Consecutive lines with one role."""

    role: TextRole
    text: str


def split_text(text: str) -> tuple[TextPart, ...]:
    """Return the parts in order, blank ones left out. Everything below a reply rule or header block is quoted."""
    lines = text.split("\n")
    tail = _tail_start(lines)
    marks: list[TextRole] = ["body"] * len(lines)
    for number in range(len(lines)):
        if number >= tail or _QUOTE.match(lines[number]):
            marks[number] = "quoted"
    _mark_attributions(lines, marks)
    _mark_signature(lines, marks)
    _fill_blanks(lines, marks)
    return tuple(_join(lines, marks))


def _tail_start(lines: list[str]) -> int:
    """Return the line from which all is an older mail: a rule, or a header block as Outlook writes it."""
    for number, line in enumerate(lines):
        if _RULE.match(line):
            return number
        if _OUTLOOK_FROM.match(line):
            block = [other for other in lines[number + 1 : number + 8] if other.strip()][:4]
            if sum(bool(_OUTLOOK_NEXT.match(other)) for other in block) >= 2:
                before = number - 1
                return before if before >= 0 and re.fullmatch(r"\s*_{10,}\s*", lines[before]) else number
    return len(lines)


def _mark_attributions(lines: list[str], marks: list[TextRole]) -> None:
    """Count the lines that announce a quote ("On ... wrote:") as part of it; mail programs wrap them."""
    for number, mark in enumerate(marks):
        if mark != "quoted" or (number and marks[number - 1] == "quoted"):
            continue
        last = number - 1
        while last >= 0 and not lines[last].strip():
            last -= 1
        if last < 0 or not lines[last].rstrip().endswith(":"):
            continue
        # The longest that begins as an attribution does; else its last line alone ("Anna wrote:").
        for first in range(max(0, last - 3), last + 1):
            candidate = " ".join(line.strip() for line in lines[first : last + 1])
            begins = _STARTS.match(candidate) or first == last
            if begins and len(candidate) < 500 and _ATTRIBUTION.match(candidate):
                for place in range(first, number):
                    marks[place] = "quoted"
                break


def _mark_signature(lines: list[str], marks: list[TextRole]) -> None:
    """Mark what stands below the last "-- " of the author's own text."""
    own = [number for number, mark in enumerate(marks) if mark == "body"]
    for number in reversed(own):
        if lines[number] in {"-- ", "--", "--\u00a0", "\u2014 "}:
            below = [place for place in own if place > number and lines[place].strip()]
            if len(below) <= _MAX_SIGNATURE_LINES or lines[number] == "-- ":
                for place in own:
                    if place >= number:
                        marks[place] = "signature"
            return


def _fill_blanks(lines: list[str], marks: list[TextRole]) -> None:
    """Let a blank line belong to what stands before it, so that a quote with gaps stays one part."""
    for number in range(1, len(lines)):
        if not lines[number].strip():
            marks[number] = marks[number - 1]


def _join(lines: list[str], marks: list[TextRole]) -> list[TextPart]:
    parts: list[TextPart] = []
    start = 0
    for number in range(1, len(lines) + 1):
        if number == len(lines) or marks[number] != marks[start]:
            text = "\n".join(line.rstrip() for line in lines[start:number]).strip("\n")
            if text.strip():
                parts.append(TextPart(marks[start], text))
            start = number
    return parts


def unflow(text: str, *, delete_space: bool) -> str:
    """Return format=flowed text (RFC 3676) with its soft line ends joined; quote depth must be equal to join."""
    out: list[str] = []
    open_depth: int | None = None
    for line in text.split("\n"):
        depth = len(line) - len(line.lstrip(">"))
        content = line[depth:].removeprefix(" ")
        flowed = content.endswith(" ") and content != "-- "
        piece = content[:-1] if flowed and delete_space else content
        if open_depth == depth and content != "-- ":
            out[-1] += piece
        else:
            out.append((">" * depth + " " if depth else "") + piece)
        open_depth = depth if flowed else None
    return "\n".join(out)
