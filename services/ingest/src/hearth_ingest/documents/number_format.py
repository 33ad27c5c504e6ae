"""Numbers of a spreadsheet as its program shows them: dates, times, percentages, fixed digits, units."""

import math
import re
from datetime import datetime, timedelta

_BUILT_IN = {
    1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 9: "0%", 10: "0.00%", 11: "0.00E+00", 14: "yyyy-mm-dd",
    15: "yyyy-mm-dd", 16: "mm-dd", 17: "yyyy-mm", 18: "hh:mm", 19: "hh:mm:ss", 20: "hh:mm", 21: "hh:mm:ss",
    22: "yyyy-mm-dd hh:mm", 37: "#,##0", 38: "#,##0", 39: "#,##0.00", 40: "#,##0.00", 45: "mm:ss", 46: "[h]:mm:ss",
    47: "mm:ss", 48: "0.0E+0", 49: "@",
}  # fmt: skip
_BRACKETS = re.compile(r"\[(?![hms]+\])[^\]]*\]", re.IGNORECASE)
_CURRENCY = re.compile(r"\[\$([^\]\-]*)(?:-[0-9A-Fa-f]+)?\]")
_LITERAL = re.compile(r'"([^"]*)"|\\(.)|_.|\*.')
_MAX_DATE = 2_958_466.0
_DAY = 86_400


def built_in(number: int) -> str:
    """Return the format code that a number stands for, or "" for General."""
    return _BUILT_IN.get(number, "")


def is_date(code: str) -> bool:
    """Tell whether a format shows a date or a time."""
    bare = _LITERAL.sub("", _BRACKETS.sub("", code.split(";", maxsplit=1)[0])).lower()
    return ("general" not in bare and any(letter in bare for letter in "ydhs")) or bool(
        re.fullmatch(r"m{1,5}", bare.strip())
    )


def show(value: float, code: str, *, from_1904: bool = False) -> str:
    """Return a number under a format code; "" and General give the plain number."""
    if not code or code.lower() == "general" or code == "@":
        return plain(value)
    if is_date(code):
        return _show_date(value, code, from_1904=from_1904)
    sections = code.split(";")
    section = sections[1] if value < 0 and len(sections) > 1 else sections[0]
    size = abs(value) if value < 0 and len(sections) > 1 else value
    symbols = _CURRENCY.sub(lambda match: f'"{match[1]}"', section)
    symbols = _BRACKETS.sub("", symbols)
    bare = _LITERAL.sub("", symbols)
    digits = re.search(r"[#0?][#0?,. ]*", bare)
    if not digits:
        return plain(value)
    if "E+" in bare.upper() or "E-" in bare.upper() or "/" in bare:
        return plain(value)
    text = _fixed(size * 100 if "%" in bare else size, digits[0])
    literals = _literals(symbols)
    before, after = literals
    sign = "-" if value < 0 and len(sections) > 1 and not set(before) & set("-(") else ""
    return f"{sign}{before}{text}{after}".strip()


def plain(value: float) -> str:
    """Return a number as General shows it, without an exponent where that is possible."""
    if not math.isfinite(value):
        return ""
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.10g}"


def _fixed(value: float, pattern: str) -> str:
    whole, _, fraction = pattern.partition(".")
    least = min(fraction.count("0"), 30)
    most = min(sum(fraction.count(mark) for mark in "0#?"), 30)
    text = f"{value:,.{most}f}" if re.search(r"[#0?],[#0?]", whole) else f"{value:.{most}f}"
    head, _, tail = text.partition(".")
    while len(tail) > least and tail.endswith("0"):
        tail = tail[:-1]
    return f"{head}.{tail}" if tail else head


def _literals(section: str) -> tuple[str, str]:
    """Return the words before and after the digits, percent and currency signs taken in."""
    before: list[str] = []
    after: list[str] = []
    seen = False
    at = 0
    while at < len(section):
        match = _LITERAL.match(section, at)
        if match:
            words = (
                match[1] if match[1] is not None else (match[2] or " " if match[0].startswith("_") else match[2] or "")
            )
            (after if seen else before).append(words)
            at = match.end()
            continue
        letter = section[at]
        if letter in "#0?":
            seen = True
        elif letter not in ",.":
            (after if seen else before).append(letter)
        at += 1
    return "".join(before).lstrip(), "".join(after).rstrip()


def _show_date(value: float, code: str, *, from_1904: bool) -> str:
    bare = _LITERAL.sub("", _BRACKETS.sub("", code.split(";", maxsplit=1)[0])).lower()
    if not 0 <= value < _MAX_DATE:
        return plain(value)
    seconds = round(value * _DAY)
    if "[h" in bare or "[m" in bare or "[s" in bare:
        return f"{seconds // 3600}:{seconds % 3600 // 60:02}:{seconds % 60:02}"
    has_day = any(letter in bare for letter in "yd")
    has_time = "h" in bare or "s" in bare
    # 1900 is a leap year to spreadsheets: days before March of it are off by one.
    start = datetime(1904, 1, 1) if from_1904 else datetime(1899, 12, 30 if value >= 61 else 31)  # noqa: DTZ001 - a cell has no zone
    moment = start + timedelta(seconds=seconds)
    clock = moment.strftime("%H:%M:%S" if "s" in bare else "%H:%M")
    if has_time and not has_day:
        return clock
    if not has_time and "d" not in bare:
        day = f"{moment.year:04}-{moment.month:02}" if "y" in bare else f"{moment.month:02}"
    else:
        day = f"{moment.year:04}-{moment.month:02}-{moment.day:02}"
    return f"{day} {clock}" if has_time else day
