// The only place that makes elements. Text becomes text nodes; nothing is ever parsed as HTML.

// Controls, soft hyphen, zero-width and tag characters hide text; bidi controls reorder it.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200d\u2028\u2029\u2060-\u2064\u206a-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\u{e0000}-\u{e0fff}]/gu;
const BIDI = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

/** Text as it may be shown: what hides is taken out, what reorders becomes a visible mark. */
export function clean(text) {
  return String(text ?? "").replace(/\r\n?/g, "\n").replace(BIDI, "\ufffd").replace(HIDDEN, "");
}

/** h("p", {class: "x", onclick: f}, "text", node, null): an element. Strings are cleaned. */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "selected") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(4).filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : clean(child))));
  return element;
}

/** A link to a place outside, only for http, https and mailto, showing the real host. Otherwise the text alone. */
export function outside(address, words = "Open at") {
  let url = null;
  try { url = new URL(String(address)); } catch { /* not an address: shown as text */ }
  if (url && (url.protocol === "https:" || url.protocol === "http:") && !url.username && !url.password) {
    return h("a", {href: url.href, target: "_blank", rel: "noopener noreferrer"}, `${words} ${url.host} ↗`);
  }
  if (url?.protocol === "mailto:") {
    return h("a", {href: url.href, rel: "noopener noreferrer"}, `Write to ${url.pathname}`);
  }
  return h("span", {class: "address"}, address);
}

const DAY = new Intl.DateTimeFormat(undefined, {dateStyle: "medium"});
const MOMENT = new Intl.DateTimeFormat(undefined, {dateStyle: "medium", timeStyle: "short"});
const CLOCK = new Intl.DateTimeFormat(undefined, {timeStyle: "short"});

const read = (text) => { const time = new Date(text); return Number.isNaN(time.getTime()) ? null : time; };

/** A moment for reading, with its exact form for machines. */
export function moment(text, {day = false} = {}) {
  const time = text ? read(text) : null;
  return time && h("time", {datetime: time.toISOString()}, (day ? DAY : MOMENT).format(time));
}

/** "14:02" for today, otherwise with its date. */
export function since(text, now = new Date()) {
  const time = text ? read(text) : null;
  if (!time) return "";
  return time.toDateString() === now.toDateString() ? CLOCK.format(time) : MOMENT.format(time);
}

export const count = (number, one, many = `${one}s`) => `${Number(number ?? 0).toLocaleString()} ${number === 1 ? one : many}`;

export const KINDS = {email: "Mail", teams: "Chat", calendar: "Meeting", document: "Document"};
export const TRUSTS = {Own: "own", Known: "known", External: "from outside"};
const REASONS = {
  "instruction-to-model": "it tries to give the model instructions",
  "hidden-text": "it was hidden from a reader's eye",
  "hidden-characters": "it held characters that nobody sees",
  "html-comment": "it stood in a comment that nobody sees",
  "remote-image": "it loads an image from elsewhere",
  "reference-link": "it hides where a link goes",
  "active-link": "its link would run a program",
  "deceptive-link": "its link goes elsewhere than it says",
};
export const reason = (code) => REASONS[code] ?? String(code).replaceAll("-", " ");
