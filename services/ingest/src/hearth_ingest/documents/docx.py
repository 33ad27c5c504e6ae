"""DOCX: a segment for each heading's section; tables, notes and comments apart. Runs in the sandbox."""

from hearth_api.wire.documents import DocumentWarning
from hearth_api.wire.ingest import RunLimits
from hearth_ingest.documents.body import Body, segment
from hearth_ingest.documents.docx_story import Story
from hearth_ingest.documents.docx_styles import read_numbering, read_styles
from hearth_ingest.documents.package import Package
from hearth_ingest.documents.rich import Notes
from hearth_ingest.documents.web import build_segments
from hearth_ingest.documents.xml import attribute, child, children, descendants
from hearth_ingest.errors import ItemError

_NOTES = {"footnotes": ("footnote", "Footnote"), "endnotes": ("endnote", "Endnote"), "comments": ("comment", "Comment")}


def read_docx(data: bytes, limits: RunLimits) -> Body:
    """Return a document's title, sections, tables and notes. Raises ItemError."""
    package = Package(data, limits)
    main = package.main_part("word/document.xml")
    root = package.xml(main)
    body = child(root, "body")
    if body is None:
        raise ItemError("office-unparseable", "it holds no text document")
    notes = Notes()
    relations = package.relations(main)
    by_kind = dict(relations.values())
    addresses = {key: target for key, (kind, target) in relations.items() if kind == "hyperlink"}
    styles = read_styles(package.xml(by_kind.get("styles", "word/styles.xml")))
    numbering = read_numbering(package.xml(by_kind.get("numbering", "word/numbering.xml")))
    story = Story(styles=styles, numbering=numbering, addresses=addresses, notes=notes)
    story.read(body)
    segments = list(build_segments(story.blocks))
    for kind, (element, label) in _NOTES.items():
        target = by_kind.get(kind)
        part = package.xml(target) if target else None
        for note in children(part, element) if part is not None else ():
            if attribute(note, "type") in {"separator", "continuationSeparator", "continuationNotice"}:
                continue
            inner = Story(styles=styles, numbering=numbering, addresses={}, notes=notes)
            inner.read(note)
            text = " ".join(" ".join(block.text.split()) for block in inner.blocks)
            if text:
                who = attribute(note, "author") if kind == "comments" else None
                number = attribute(note, "id") or ""
                segments.append(segment(f"{label} {f'of {who}' if who else number}: {text}", role="notes"))
    title, created = package.properties()
    package.remark(notes.warn)
    if any(True for _ in descendants(root, "altChunk")):
        notes.warn("embedded-object", "parts in another format inside the text were not read")
    if story.deleted:
        notes.warnings.append(
            DocumentWarning(code="deleted-text", detail=f"{story.deleted} tracked deletions left out")
        )
    first = next((block.text for block in story.blocks if block.kind == "heading"), "")
    return Body(
        title=notes.tidy(title or first),
        segments=tuple(segments),
        warnings=notes.all(empty=not segments),
        created=created,
        parts=package.parts(),
    )
