// Shows one document as what it is: a mail, a chat, a meeting, or pages. Returns elements and the marked passage.

import {KINDS, TRUSTS, clean, h, moment, outside, reason} from "./dom.js";
import {find} from "./passage.js";

const ROLES = {from: "From", to: "To", cc: "Cc", bcc: "Bcc", "reply-to": "Reply to", organizer: "Organizer", attendee: "Attendees", member: "Members", mentioned: "Mentioned"};
const MAX_SEGMENTS = 2000, BEFORE = 200, LONG_LIST = 12;

/** {nodes, mark}: everything about the document itself. `open(id)` opens another document. */
export function showDocument(view, {quotes = [], focus = {}, unfiltered = false, open}) {
  const document = view.document;
  const people = new Map([...(document.authors ?? []), ...(document.participants ?? [])].map((person) => [person.id, person]));
  const segments = (document.segments ?? []).map((segment) => ({...segment, text: clean(segment.text)}));
  const texts = segments.map((segment) => (segment.quarantine ? "" : segment.text));
  // The same words may stand in many messages and in every occurrence of a meeting: look first where the passage is from.
  const close = texts.map((text, index) => (standsAt(segments[index], focus) ? text : ""));
  let ranges = [];
  for (const [where, parts] of [[close, false], [texts, false], [close, true], [texts, true]]) {
    ranges = find(where, quotes, parts);
    if (ranges.some((list) => list.length)) break;
  }
  const marked = segments.map((segment, index) => ranges[index].length > 0 || (!quotes.length && standsAt(segment, focus)));
  // Of a very long document the part around the passage is shown.
  const from = Math.max(0, Math.min(marked.indexOf(true) - BEFORE, segments.length - MAX_SEGMENTS));
  const part = (list) => list.slice(from, from + MAX_SEGMENTS);
  const context = {people, ranges: part(ranges), marked: part(marked), document, unfiltered, open};
  const body = {email: mail, teams: chat, calendar: meeting}[document.kind] ?? pages;
  const nodes = [heading(view, context), body(part(segments), context), more(segments.length), parts(document, open)];
  const holder = h("div", {class: `document ${document.kind in KINDS ? document.kind : "other"}`}, nodes);
  return {node: holder, mark: holder.querySelector("mark") ?? holder.querySelector(".here"), found: ranges.some((list) => list.length)};
}

function standsAt(segment, {anchor, permalink}) {
  if (permalink && segment.permalink === permalink) return true;
  return Boolean(anchor && segment.anchor && ["page", "slide", "cell", "line"].some((name) => anchor[name] !== undefined && anchor[name] !== null && anchor[name] === segment.anchor[name]));
}

const named = (person) => person && (person.name && person.address && person.name !== person.address ? `${person.name} <${person.address}>` : person.name ?? person.address ?? null);

function heading(view, {document, people}) {
  const rows = [];
  const row = (term, ...value) => { if (value.some((part) => part)) rows.push(h("dt", null, term), h("dd", null, value)); };
  const byRole = new Map();
  for (const person of document.participants ?? []) byRole.set(person.role, [...(byRole.get(person.role) ?? []), named(person) ?? "somebody"]);
  if (!byRole.has("from") && document.kind !== "calendar") row(document.kind === "document" ? "Author" : "From", [...new Set((document.authors ?? []).map(named).filter(Boolean))].join(", "));
  for (const [role, words] of Object.entries(ROLES)) if (byRole.has(role)) row(words, listed(byRole.get(role)));
  row("When", moment(document.created ?? null));
  if (document.modified && document.modified !== document.created) row("Changed", moment(document.modified));
  row("Where", [document.source, document.origin?.uri && h("span", {class: "address"}, ` · ${document.origin.uri}`)]);
  if (document.permalink) row("Link", /^(https?|mailto):/i.test(document.permalink) ? outside(document.permalink) : null);
  row("Trust", TRUSTS[document.trust] ?? document.trust);
  if (view.state === "deleted") rows.unshift(h("dt", null, "State"), h("dd", {class: "error"}, "gone at its source"));
  return [h("p", {class: "kind"}, KINDS[document.kind] ?? document.kind), h("h2", {id: "paneltitle", dir: "auto"}, document.title || "Without a title"), h("dl", {class: "meta"}, rows)];
}

function listed(names) {
  const text = (list) => h("span", {dir: "auto"}, list.join(", "));
  if (names.length <= LONG_LIST) return text(names);
  return h("details", null, h("summary", null, `${names.slice(0, 3).join(", ")} and ${names.length - 3} more`), text(names.slice(3)));
}

/** The segment's text with its marked ranges; white space stays as it was. */
function passage(segment, index, {ranges, unfiltered}) {
  if (segment.quarantine) return h("div", {class: "withheld"}, `A passage is withheld here: ${reason(segment.quarantine)}.`, unfiltered ? h("div", {class: "text", dir: "auto"}, segment.text) : null);
  const out = [];
  let from = 0;
  for (const [start, end] of ranges[index]) {
    out.push(segment.text.slice(from, start), h("mark", null, segment.text.slice(start, end)));
    from = end;
  }
  out.push(segment.text.slice(from));
  return h("div", {class: "text", dir: "auto"}, out);
}

const here = (index, {marked}) => (marked[index] ? " here" : "");

function mail(segments, context) {
  return segments.map((segment, index) => {
    const text = passage(segment, index, context);
    if (segment.role === "quoted") return h("details", {class: `quoted${here(index, context)}`, open: context.marked[index]}, h("summary", null, "Quoted text"), text);
    return h("div", {class: `segment ${segment.role ?? "body"}${here(index, context)}`}, place(segment, index, segments), text);
  });
}

function chat(segments, context) {
  let author = null;
  return h("ol", {class: "bubbles"}, segments.map((segment, index) => {
    const who = named(context.people.get(segment.author)) ?? (segment.author ? "Somebody" : "");
    const same = who && who === author;
    author = who;
    const link = segment.permalink && /^https?:/i.test(segment.permalink) ? outside(segment.permalink) : null;
    return h("li", {class: `bubble ${segment.role === "quoted" ? "reply" : ""} ${segment.role === "event" || !who ? "system" : ""}${here(index, context)}`},
      h("p", {class: "who"}, same ? null : h("strong", {dir: "auto"}, who), " ", moment(segment.time), " ", link), passage(segment, index, context));
  }));
}

function meeting(segments, context) {
  const occurrences = segments.filter((segment) => segment.role === "event").length;
  let number = 0;
  return segments.map((segment, index) => {
    const event = segment.role === "event";
    if (event) number += 1;
    const words = event && occurrences > 1 ? `Occurrence ${number} of ${occurrences}: ` : "";
    return h("div", {class: `segment ${segment.role ?? "body"}${here(index, context)}`}, event && segment.time ? h("p", {class: "who"}, words, moment(segment.time)) : null, passage(segment, index, context));
  });
}

function pages(segments, context) {
  return segments.map((segment, index) =>
    h("div", {class: `segment ${segment.role ?? "body"}${here(index, context)}`}, place(segment, index, segments), passage(segment, index, context)));
}

/** "Page 4": said where it changes. */
function place(segment, index, segments) {
  const words = placeWords(segment);
  return words && (index === 0 || words !== placeWords(segments[index - 1])) ? h("p", {class: "anchor"}, words) : null;
}

const placeWords = ({anchor, role}) => [anchorWords(anchor), role === "notes" && "speaker's notes"].filter(Boolean).join(", ");

export function anchorWords(anchor) {
  if (!anchor) return "";
  const words = [anchor.page && `Page ${anchor.page}`, anchor.slide && `Slide ${anchor.slide}`, anchor.cell && `Cell ${anchor.cell}`, anchor.heading, !anchor.heading && !anchor.page && anchor.line && `Line ${anchor.line}`];
  return words.filter(Boolean).join(" · ");
}

const more = (all) => (all > MAX_SEGMENTS ? h("p", {class: "dim"}, `${all - MAX_SEGMENTS} more passages are in the original.`) : null);

function parts(document, open) {
  const attachments = document.attachments ?? [];
  const warnings = document.warnings ?? [];
  return [
    attachments.length ? h("section", null, h("h3", null, "Attachments"), h("ul", {class: "plain"}, attachments.map((file) =>
      h("li", null, h("button", {type: "button", class: "link", onclick: () => open(file.document)}, file.name || "attachment"), h("span", {class: "dim"}, ` ${file.mediaType ?? ""}, ${size(file.bytes)}`))))) : null,
    warnings.length ? h("details", null, h("summary", null, `Notes of the reader (${warnings.length})`), h("ul", null, warnings.map((warning) => h("li", null, noted(warning))))) : null,
  ];
}

function noted({code, detail}) {
  const words = code === "withheld" ? String(detail).replace(/([a-z-]+): (\d+)/g, (_, why, number) => `${number} because ${reason(why)}`) : detail;
  return words ? `${reason(code)}: ${words}` : reason(code);
}

function size(bytes) {
  if (!(bytes >= 1024)) return `${bytes ?? 0} bytes`;
  return bytes < 1024 * 1024 ? `${Math.round(bytes / 1024)} KB` : `${(bytes / 1024 / 1024).toFixed(1)} MB`;
}
