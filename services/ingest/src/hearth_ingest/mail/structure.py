"""The tree of MIME parts: which texts are the body, what is attached, and a reason for every single part."""

import email
import re
from dataclasses import dataclass, field
from email.message import Message

from hearth_api.wire.documents import DocumentWarning, Part
from hearth_ingest.errors import ItemError
from hearth_ingest.hidden import strip_invisible
from hearth_ingest.mail.headers import decode_header, raw_values
from hearth_ingest.mail.invitation import Invitation, read_invitation
from hearth_ingest.mail.leaf import Leaf, leaf_text, opaque_reason, payload_bytes, read_leaf
from hearth_ingest.mail.quoting import unflow
from hearth_ingest.markup import Page, read_html

_MAX_PARTS = 2000
_SIGNATURES = {"application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature"}
_STUB_CHARS = 200


@dataclass(frozen=True, slots=True)
class TextPiece:
    """One piece of the mail's own text. `notes` holds delivery reports."""

    text: str
    notes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A part that becomes a document of its own. `path` numbers parts as IMAP does; `opaque` says why it stays shut."""

    path: str
    name: str
    media_type: str
    data: bytes
    message: Message | None = None
    opaque: str | None = None


@dataclass(slots=True)
class Content:
    """Everything found in one message."""

    texts: list[TextPiece] = field(default_factory=list)
    invitations: list[Invitation] = field(default_factory=list)
    attached: list[Attached] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    warnings: list[DocumentWarning] = field(default_factory=list)

    def note(self, part: Leaf, *, used: bool, reason: str) -> None:
        """Account for a part."""
        self.parts.append(Part(media_type=part.media_type, used=used, reason=reason, name=part.name or None))

    def warn(self, code: str, detail: str = "") -> None:
        """Add a warning once."""
        warning = DocumentWarning(code=code, detail=detail)
        if warning not in self.warnings:
            self.warnings.append(warning)


def parse_message(data: bytes) -> Message:
    """Return the message tree. Raises ItemError where the standard parser gives up (nesting beyond its stack)."""
    try:
        return email.message_from_bytes(data)
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError) as error:
        raise ItemError("mail-unparseable", type(error).__name__) from error


def read_content(message: Message, *, prefix: str = "") -> Content:
    """Return a message's texts, attachments and the account of its parts. `prefix` numbers a nested message's parts."""
    content = Content()
    root = prefix.rstrip(".") if message.is_multipart() and prefix else ("" if message.is_multipart() else f"{prefix}1")
    try:
        _walk(message, root, content, chosen=True, inline=False)
    except RecursionError as error:
        raise ItemError("mail-unparseable", "parts are nested too deeply") from error
    return content


def _walk(message: Message, path: str, content: Content, *, chosen: bool, inline: bool) -> None:
    part = read_leaf(message, path)
    if len(content.parts) >= _MAX_PARTS:
        content.warn("too-many-parts", f"only the first {_MAX_PARTS} parts were read")
        return
    if part.media_type.startswith("multipart/") and message.is_multipart():
        _walk_container(message, part, content, chosen=chosen)
    elif part.media_type.startswith("message/"):
        _take_message(message, part, content, chosen=chosen)
    else:
        _take_leaf(part, content, chosen=chosen, inline=inline)


def _walk_container(message: Message, part: Leaf, content: Content, *, chosen: bool) -> None:
    children = _children(message)
    subtype = part.media_type.partition("/")[2]
    content.note(part, used=True, reason=f"container-{subtype[:40]}")
    if subtype == "encrypted":
        content.warn("encrypted-content", "multipart/encrypted")
    for defect in message.defects:
        content.warn("mime-defect", type(defect).__name__)
    best = _choose(children) if subtype == "alternative" else None
    base = f"{part.path}." if part.path else ""
    for number, child in enumerate(children, start=1):
        _walk(
            child,
            f"{base}{number}",
            content,
            chosen=chosen and (best is None or best == number - 1),
            inline=subtype == "related" and number > 1,
        )


def _children(message: Message) -> list[Message]:
    payload = message.get_payload()
    return [child for child in payload if isinstance(child, Message)] if isinstance(payload, list) else []


def _choose(children: list[Message]) -> int | None:
    """Return which alternative to read: plain text, unless it is missing, empty or only says that there is HTML."""
    plain = html = None
    for number, child in enumerate(children):
        types = {read_leaf(leaf, "").media_type for leaf in child.walk()}
        if "text/html" in types and "text/plain" not in types:
            html = number if html is None else html
        elif "text/plain" in types:
            plain = number if plain is None else plain
    if plain is None or html is None:
        return plain if html is None else html
    text = "".join(leaf_text(leaf)[0] for leaf in _text_leaves(children[plain], "text/plain")).strip()
    if len(text) >= _STUB_CHARS:
        return plain
    other = "".join(read_html(leaf_text(leaf)[0]).text for leaf in _text_leaves(children[html], "text/html")).strip()
    return html if other and (not text or len(other) > 4 * len(text)) else plain


def _text_leaves(message: Message, wanted: str) -> list[Leaf]:
    leaves = (read_leaf(child, "") for child in message.walk())
    return [leaf for leaf in leaves if leaf.media_type == wanted and leaf.disposition != "attachment"]


def _take_leaf(part: Leaf, content: Content, *, chosen: bool, inline: bool) -> None:
    kind = part.media_type
    attached = part.disposition == "attachment" or (bool(part.name) and kind != "text/calendar")
    if kind in _SIGNATURES:
        content.note(part, used=False, reason="signature-not-verified")
    elif kind == "application/pgp-encrypted":
        content.note(part, used=False, reason="opaque-pgp-control")
    elif kind == "text/calendar":
        _take_calendar(part, content)
    elif kind.startswith("text/") and not attached:
        _take_text(part, content, chosen=chosen)
    elif kind.startswith("image/") and part.disposition != "attachment" and (inline or not part.name):
        content.note(part, used=False, reason="inline-image")
    else:
        _attach(part, content)


def _take_calendar(part: Leaf, content: Content) -> None:
    text, code, detail = leaf_text(part)
    if code:
        content.warn(code, detail)
    invitation = read_invitation(text)
    known = invitation in content.invitations
    if invitation.text and not known:
        content.invitations.append(invitation)
    reason = "event" if invitation.text and not known else ("event-copy" if known else "event-empty")
    content.note(part, used=reason == "event", reason=reason)


def _take_text(part: Leaf, content: Content, *, chosen: bool) -> None:
    kind = part.media_type
    if not chosen:
        content.note(part, used=False, reason="alternative-not-chosen")
        return
    if kind == "text/rfc822-headers":
        content.note(part, used=False, reason="headers-of-another-mail")
        return
    text, code, detail = leaf_text(part)
    if code:
        content.warn(code, detail)
    if kind == "text/html" or (kind == "text/plain" and _is_mislabelled_html(text)):
        page = read_html(text)
        text = page.text
        _warn_hidden(page, content)
    elif kind in {"text/enriched", "text/richtext"}:
        text = re.sub(r"<[^<>]{1,200}>", "", text.replace("<<", "\u2039"))
    elif part.options.get("format", "").lower() == "flowed":
        text = unflow(text, delete_space=part.options.get("delsp", "").lower() == "yes")
    text, invisible = strip_invisible(text)
    if invisible:
        content.warn("hidden-text", f"zero-width: {invisible} characters")
    if "-----BEGIN PGP MESSAGE-----" in text:
        content.warn("encrypted-content", "inline PGP")
        content.note(part, used=False, reason="opaque-pgp")
        return
    if text.strip():
        content.texts.append(TextPiece(text))
    content.note(part, used=bool(text.strip()), reason="body" if text.strip() else "empty")


def _is_mislabelled_html(text: str) -> bool:
    return re.match(r"\s*<(?:!doctype html|html)\b", text, re.IGNORECASE) is not None


def _warn_hidden(page: Page, content: Content) -> None:
    if page.hidden:
        content.warn("hidden-text", page.hidden_detail())


def _take_message(message: Message, part: Leaf, content: Content, *, chosen: bool) -> None:
    children = _children(message)
    if part.media_type in {"message/rfc822", "message/global"} and children:
        inner = children[0]
        name = part.name or decode_header((raw_values(inner, "subject") or [""])[0])[:200] or "message.eml"
        content.attached.append(
            Attached(path=part.path, name=name, media_type=part.media_type, data=_as_bytes(inner), message=inner)
        )
        content.note(part, used=True, reason="attachment-mail")
    elif part.media_type in {"message/delivery-status", "message/disposition-notification"}:
        text = "\n\n".join(_header_lines(child) for child in children) or leaf_text(part)[0]
        if text.strip() and chosen:
            content.texts.append(TextPiece(text.strip(), notes=True))
        content.note(part, used=bool(text.strip()) and chosen, reason="delivery-report")
    elif part.media_type in {"message/external-body", "message/partial"}:
        content.warn("content-elsewhere", part.media_type)
        content.note(part, used=False, reason="elsewhere")
    else:
        content.note(part, used=False, reason="unknown-message-type")


def _header_lines(message: Message) -> str:
    return "\n".join(f"{key}: {decode_header(str(value))}" for key, value in message.raw_items())


def _as_bytes(message: Message) -> bytes:
    """Return a nested message as bytes; the parser keeps no slice of the original, so it is written again."""
    try:
        return message.as_bytes()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        head = "".join(f"{key}: {value}\n" for key, value in message.raw_items())
        payload = message.get_payload()
        body = payload if isinstance(payload, str) else ""
        return f"{head}\n{body}".encode("utf-8", "surrogateescape")


def _attach(part: Leaf, content: Content) -> None:
    data, sound = payload_bytes(part.message)
    if not sound:
        content.warn("transfer-encoding-broken", part.path)
    if not data and not part.name:
        content.note(part, used=False, reason="empty")
        return
    name = part.name or f"part-{part.path}{_SUFFIXES.get(part.media_type, '.bin')}"
    opaque = opaque_reason(part, name, data)
    if opaque:
        content.warn("opaque-content", f"{part.path}: {opaque}")
    content.attached.append(Attached(path=part.path, name=name, media_type=part.media_type, data=data, opaque=opaque))
    content.note(part, used=opaque is None, reason=opaque or "attachment")


_SUFFIXES = {"text/plain": ".txt", "text/html": ".html", "application/pdf": ".pdf", "text/csv": ".csv"}
