"""PPTX: the slides in their order; tables and speaker notes apart. Runs in the sandbox."""

from collections.abc import Iterator

from hearth_api.wire.documents import Segment
from hearth_api.wire.ingest import RunLimits
from hearth_ingest.documents.body import Body, segment
from hearth_ingest.documents.package import Package
from hearth_ingest.documents.rich import Notes, table_text, with_address
from hearth_ingest.documents.xml import Element, attribute, child, children, descendants, name_of
from hearth_ingest.errors import ItemError, RefusedError

_FURNITURE = frozenset(("dt", "ftr", "sldNum", "hdr", "sldImg"))
_TITLES = frozenset(("title", "ctrTitle"))


def read_pptx(data: bytes, limits: RunLimits) -> Body:
    """Return a presentation's slides. Raises ItemError."""
    package = Package(data, limits)
    main = package.main_part("ppt/presentation.xml")
    root = package.xml(main)
    if root is None or name_of(root) != "presentation":
        raise ItemError("office-unparseable", "it holds no presentation")
    relations = package.relations(main)
    listed = [relations.get(_relation(entry), ("", ""))[1] for entry in descendants(root, "sldId")]
    if len(listed) > limits.pages:
        raise RefusedError("too-many-pages", f"{len(listed)} slides, {limits.pages} allowed")
    notes = Notes()
    reasons: dict[str, str] = {}
    segments: list[Segment] = []
    first = ""
    for number, target in enumerate(listed, start=1):
        slide = package.xml(target) if target else None
        if slide is None:
            notes.warn("slide-broken", f"slide {number}")
            continue
        if attribute(slide, "show") in {"0", "false"}:
            notes.hide("hidden-slide", "".join(node.text or "" for node in descendants(slide, "t")))
            reasons[target] = "hidden-slide"
            continue
        reader = _Slide(package, target, notes)
        reader.read(slide)
        first = first or reader.title
        segments.extend(reader.segments(number))
    title, created = package.properties()
    package.remark(notes.warn)
    # "PowerPoint Presentation" is what the program writes where nobody named the file.
    named = "" if title.strip().lower() in {"powerpoint presentation", "powerpoint-präsentation"} else title
    return Body(
        title=notes.tidy(named or first),
        segments=tuple(segments),
        warnings=notes.all(empty=not segments),
        created=created,
        parts=package.parts(reasons),
    )


def _relation(entry: Element) -> str:
    """Return r:id, which stands beside the entry's own id."""
    return next((value for key, value in entry.attrib.items() if key.endswith("}id")), "")


class _Slide:
    def __init__(self, package: Package, part: str, notes: Notes) -> None:
        self._package = package
        self._relations = package.relations(part)
        self._notes = notes
        self.title = ""
        self._texts: list[str] = []
        self._tables: list[str] = []
        self._spoken: list[str] = []

    def read(self, slide: Element) -> None:
        tree = child(slide, "cSld", "spTree")
        if tree is not None:
            self._shapes(tree)
        for kind, target in self._relations.values():
            if kind == "notesSlide":
                self._read_notes(self._package.xml(target))
            elif kind == "comments":
                self._read_comments(self._package.xml(target))

    def segments(self, number: int) -> Iterator[Segment]:
        heading = " ".join(self.title.split())[:200] or None
        text = "\n".join(part for part in (self.title, *self._texts) if part.strip())
        if text.strip():
            yield segment(text, heading=heading, slide=number)
        for table in self._tables:
            yield segment(table, role="table", heading=heading, slide=number)
        for spoken in self._spoken:
            yield segment(spoken, role="notes", heading=heading, slide=number)

    def _shapes(self, tree: Element) -> None:
        for shape in tree:
            name = name_of(shape)
            if name == "AlternateContent":
                options = list(children(shape, "Choice")) or list(children(shape, "Fallback"))
                if options:
                    self._shapes(options[0])
                continue
            if name not in {"sp", "grpSp", "graphicFrame", "cxnSp"}:
                continue
            if any(attribute(about, "hidden") in {"1", "true"} for about in _about(shape)):
                self._notes.hide("hidden-shape", "".join(node.text or "" for node in descendants(shape, "t")))
            elif name == "grpSp":
                self._shapes(shape)
            elif name == "graphicFrame":
                self._frame(shape)
            else:
                self._shape(shape)

    def _shape(self, shape: Element) -> None:
        kind = _placeholder(shape)
        if kind in _FURNITURE:
            return
        text = self._paragraphs(child(shape, "txBody"))
        if kind in _TITLES and not self.title:
            self.title = " ".join(text.split())
        elif text:
            self._texts.append(text)

    def _frame(self, frame: Element) -> None:
        for table in descendants(frame, "tbl"):
            rows = [
                [self._paragraphs(child(cell, "txBody")) for cell in children(row, "tc")]
                for row in children(table, "tr")
            ]
            text = table_text(rows)
            if text:
                self._tables.append(text)
        for diagram in descendants(frame, "relIds"):
            target = self._relations.get(attribute(diagram, "dm") or "", ("", ""))[1]
            data = self._package.xml(target) if target else None
            for point in descendants(data, "pt") if data is not None else ():
                text = self._paragraphs(child(point, "t"))
                if text:
                    self._texts.append(text)

    def _paragraphs(self, body: Element | None) -> str:
        lines: list[str] = []
        for paragraph in children(body, "p") if body is not None else ():
            words = "".join(self._words(paragraph))
            level = attribute(child(paragraph, "pPr"), "lvl") if child(paragraph, "pPr") is not None else None
            if words.strip():
                lines.append("  " * (int(level) if level and level in "12345678" else 0) + words.strip())
        return self._notes.tidy("\n".join(lines))

    def _words(self, paragraph: Element) -> Iterator[str]:
        for run in paragraph:
            name = name_of(run)
            if name in {"r", "fld"}:
                text = "".join(node.text or "" for node in children(run, "t"))
                link = child(run, "rPr", "hlinkClick")
                address = self._relations.get(attribute(link, "id") or "", ("", ""))[1] if link is not None else None
                yield with_address(text, address)
            elif name == "br":
                yield "\n"

    def _read_notes(self, root: Element | None) -> None:
        tree = child(root, "cSld", "spTree")
        for shape in descendants(tree, "sp") if tree is not None else ():
            if _placeholder(shape) in {"body", None}:
                text = self._paragraphs(child(shape, "txBody"))
                if text:
                    self._spoken.append(text)

    def _read_comments(self, root: Element | None) -> None:
        for comment in descendants(root, "cm") if root is not None else ():
            text = self._notes.tidy(" ".join(node.text or "" for node in descendants(comment, "text", "t"))).strip()
            if text:
                self._spoken.append(f"Comment: {text}")


def _about(shape: Element) -> Iterator[Element]:
    for properties in children(shape, "nvSpPr", "nvGrpSpPr", "nvGraphicFramePr", "nvCxnSpPr"):
        yield from children(properties, "cNvPr")


def _placeholder(shape: Element) -> str | None:
    """Return a placeholder's type ("body" where it names none), or None for a free shape."""
    place = child(shape, "nvSpPr", "nvPr", "ph")
    return None if place is None else (attribute(place, "type") or "body")
