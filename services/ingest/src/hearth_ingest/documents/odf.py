"""ODT, ODS and ODP, zipped or flat: sections, sheets, slides. Runs in the sandbox."""

from hearth_api.wire.documents import Part, Segment
from hearth_api.wire.ingest import RunLimits
from hearth_ingest.documents.body import Body, segment
from hearth_ingest.documents.grid import build_grid
from hearth_ingest.documents.odf_sheet import read_sheet
from hearth_ingest.documents.odf_text import OdfText
from hearth_ingest.documents.package import Package
from hearth_ingest.documents.rich import Notes
from hearth_ingest.documents.web import build_segments
from hearth_ingest.documents.xml import Element, attribute, child, children, descendants, name_of, parse_xml
from hearth_ingest.errors import ItemError, RefusedError


def read_odf(data: bytes, limits: RunLimits) -> Body:
    """Return an OpenDocument file's title and content. Raises ItemError."""
    notes = Notes()
    if data.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<"):
        if len(data) > limits.expanded_bytes:
            raise RefusedError("too-large", f"{len(data)} bytes")
        content, sound = parse_xml(data)
        styles = content
        if not sound:
            notes.warn("xml-repaired", "its XML is broken or nested too deeply: some of it may be missing")
        meta = child(content, "meta")
        parts: tuple[Part, ...] = ()
        package = None
    else:
        package = Package(data, limits)
        manifest = package.xml("META-INF/manifest.xml")
        if manifest is not None and any(True for _ in descendants(manifest, "encryption-data")):
            raise ItemError("office-encrypted", "save it without a password")
        content = package.xml("content.xml")
        styles = package.xml("styles.xml")
        meta = child(package.xml("meta.xml"), "meta")
    body = child(content, "body")
    if body is None:
        raise ItemError("office-unparseable", "it holds no OpenDocument content")
    hidden = _hidden_styles(content) | (_hidden_styles(styles) if styles is not None else set())
    segments: list[Segment] = []
    for kind in body:
        name = name_of(kind)
        if name == "text":
            reader = OdfText(hidden=frozenset(hidden), notes=notes)
            reader.read(kind)
            segments += [*build_segments(reader.blocks), *(segment(text, role="notes") for text in reader.remarks)]
        elif name == "spreadsheet":
            for table in children(kind, "table"):
                segments += _sheet(table, hidden=frozenset(hidden), notes=notes)
        elif name in {"presentation", "drawing"}:
            pages = list(children(kind, "page"))
            if len(pages) > limits.pages:
                raise RefusedError("too-many-pages", f"{len(pages)} slides, {limits.pages} allowed")
            for number, page in enumerate(pages, start=1):
                segments += _slide(page, number, hidden=frozenset(hidden), notes=notes)
    if package is not None:
        package.remark(notes.warn)
        parts = package.parts()
    title, created = child(meta, "title"), child(meta, "creation-date")
    first = next(
        (one.anchor.heading for one in segments if one.anchor and one.anchor.heading and not one.anchor.cell), ""
    )
    named = (title.text or "") if title is not None else ""
    return Body(
        title=notes.tidy(named or first or ""),
        segments=tuple(segments),
        warnings=notes.all(empty=not segments),
        created=created.text if created is not None else None,
        parts=parts,
    )


def _hidden_styles(root: Element) -> set[str]:
    """Return the names of styles that show nothing: hidden text, hidden sheets, hidden slides."""
    found: set[str] = set()
    for style in descendants(root, "style"):
        for properties in style:
            off = (
                attribute(properties, "display") in {"none", "false"} or attribute(properties, "visibility") == "hidden"
            )
            if off and name_of(properties).endswith("-properties"):
                found.add(attribute(style, "name") or "")
    return found


def _sheet(table: Element, *, hidden: frozenset[str], notes: Notes) -> list[Segment]:
    sheet = read_sheet(table, notes)
    if attribute(table, "style-name") in hidden:
        notes.hide("hidden-sheet", " ".join(text for row in sheet.rows.values() for text in row.values()))
        return []
    name = notes.tidy(attribute(table, "name") or "Sheet")
    out = list(build_grid(name, sheet.rows, numeric=frozenset(sheet.numeric)))
    out += [
        segment(f"{cell}: {text}", role="notes", heading=name[:200], cell=f"{name}!{cell}"[:300])
        for cell, text in sheet.remarks
    ]
    return out


def _slide(page: Element, number: int, *, hidden: frozenset[str], notes: Notes) -> list[Segment]:
    if attribute(page, "style-name") in hidden:
        notes.hide("hidden-slide", "".join(page.itertext()))
        return []
    title = ""
    texts: list[str] = []
    tables: list[str] = []
    spoken: list[str] = []
    for shape in page:
        name = name_of(shape)
        reader = OdfText(hidden=hidden, notes=notes)
        reader.read(shape)
        text = "\n".join(block.text for block in reader.blocks if block.kind != "table")
        tables += [block.text for block in reader.blocks if block.kind == "table"]
        if name == "notes":
            spoken += [text] if text else []
        elif attribute(shape, "class") == "title" and not title:
            title = " ".join(text.split())
        elif text:
            texts.append(text)
        spoken += reader.remarks
    heading = title[:200] or None
    words = "\n".join(part for part in (title, *texts) if part)
    out = [segment(words, heading=heading, slide=number)] if words else []
    out += [segment(table, role="table", heading=heading, slide=number) for table in tables]
    return out + [segment(text, role="notes", heading=heading, slide=number) for text in spoken]
