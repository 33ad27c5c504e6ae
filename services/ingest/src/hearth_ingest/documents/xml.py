"""XML of office files: entities, document types and the network are off; broken markup is repaired."""

from collections.abc import Iterator
from typing import Any

from lxml import etree

from hearth_ingest.errors import ItemError, RefusedError

Element = Any
"""An lxml element; the library ships no types."""


def parse_xml(data: bytes) -> tuple[Element, bool]:
    """Return the root of a document and whether it was sound.

    Raises RefusedError for one with a document type, ItemError for none at all.
    """
    refuse_dtd(data)
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        recover=True,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        _check_memory(parser, error)
        raise ItemError("office-unparseable", "its XML is broken") from error
    if root is None:
        raise ItemError("office-unparseable", "its XML is broken")
    if root.getroottree().docinfo.internalDTD is not None:
        raise RefusedError("xml-with-entities", "a document type is not allowed in office files")
    _check_memory(parser, None)
    return root, not any(entry.level_name == "FATAL" for entry in parser.error_log)


def _check_memory(parser: Any, error: Exception | None) -> None:
    """Raise MemoryError where the parser gave up for it: a repaired document would silently be half of one."""
    if any(entry.type_name == "ERR_NO_MEMORY" for entry in parser.error_log) or "memory" in str(error or "").lower():
        raise MemoryError


def refuse_dtd(data: bytes) -> None:
    """Raise RefusedError for a document type in any of the usual encodings, before any parser sees it."""
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data or b"\0!\0D\0O\0C\0T" in data or b"!\0D\0O\0C\0T\0Y" in data:
        raise RefusedError("xml-with-entities", "a document type is not allowed in office files")


def name_of(element: Element) -> str:
    """Return an element's name without its namespace; "" for what is no element (an entity that stays unresolved)."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: Element, name: str) -> str | None:
    """Return an attribute's value whatever its namespace is (transitional and strict files differ in it)."""
    value = element.get(name)
    if value is not None:
        return str(value)
    for key, other in element.attrib.items():
        if key.rpartition("}")[2] == name:
            return str(other)
    return None


def children(element: Element, *names: str) -> Iterator[Element]:
    """Yield the children of these names."""
    for child in element:
        if name_of(child) in names:
            yield child


def child(element: Element | None, *path: str) -> Element | None:
    """Return the first descendant along a path of names, or None."""
    for name in path:
        if element is None:
            return None
        element = next(children(element, name), None)
    return element


def descendants(element: Element, *names: str) -> Iterator[Element]:
    """Yield all elements of these names below one, in document order."""
    for node in element.iter():
        if name_of(node) in names:
            yield node


def is_on(element: Element | None) -> bool:
    """Tell whether an on/off property is there and on: <w:vanish/> is, <w:vanish w:val="0"/> is not."""
    if element is None:
        return False
    return (attribute(element, "val") or "true").lower() not in {"0", "false", "off", "none"}
