// The side panel: one document at a time, with a way back, its versions, what belongs to it, and its original.

import {ApiError, documentPath, get, post, send, words} from "./api.js";
import {showDocument} from "./document.js";
import {KINDS, clean, h, moment} from "./dom.js";

const panel = document.getElementById("panel");
const main = document.getElementById("main"), top = document.getElementById("top");
const narrow = matchMedia("(max-width: 899px)");
let stack = [];
let returnTo = null;
let current = null;
let mayReveal = () => false;

export const isOpen = () => !panel.hidden;
export const whoMayReveal = (call) => { mayReveal = call; };

/** Opens {base, id, version?, quotes?, focus?}. Focus comes back to where it was when the panel closes. */
export function openDocument(wanted) {
  if (!isOpen()) returnTo = document.activeElement;
  stack = [wanted];
  return load();
}

export function close() {
  if (!isOpen()) return false;
  current?.abort();
  panel.hidden = true;
  panel.replaceChildren();
  stack = [];
  dim();
  if (returnTo?.isConnected) returnTo.focus();
  return true;
}

const dim = () => { main.inert = top.inert = isOpen() && narrow.matches; document.body.classList.toggle("reading", isOpen()); };
narrow.addEventListener("change", dim);

const go = (wanted) => { stack.push(wanted); return load(); };

async function load() {
  const wanted = stack.at(-1);
  current?.abort();
  current = new AbortController();
  const {signal} = current;
  panel.hidden = false;
  dim();
  const body = h("div", {class: "panelbody", "aria-busy": "true"}, h("p", {class: "dim"}, "Opening…"));
  panel.replaceChildren(bar(), body);
  panel.focus({preventScroll: true});
  try {
    const query = wanted.version ? `?version=${wanted.version}` : "";
    const view = wanted.view ?? await get(documentPath(wanted.base, wanted.id, query), {signal});
    if (signal.aborted) return;
    show(body, view, wanted, signal);
  } catch (error) {
    if (signal.aborted) return;
    body.replaceChildren(h("p", {class: "error", role: "alert"}, error.status === 404 ? "This document is no longer here: it was deleted at its source or erased." : words(error)));
  }
  body.removeAttribute("aria-busy");
}

function bar() {
  return h("div", {class: "panelbar"},
    stack.length > 1 ? h("button", {type: "button", onclick: () => { stack.pop(); load(); }}, "← Back") : null,
    h("span", {class: "grow short dim", "aria-hidden": "true", dir: "auto"}),
    h("button", {type: "button", onclick: close, "aria-label": "Close the source", title: "Close (Esc)"}, "✕ Close"));
}

function show(body, view, wanted, signal) {
  const open = (id, base = wanted.base) => go({base, id});
  const {node, mark, found} = showDocument(view, {quotes: wanted.quotes ?? [], focus: wanted.focus ?? {}, unfiltered: Boolean(wanted.view), open});
  const related = h("section", {hidden: true});
  const versions = h("section", {hidden: true});
  const missing = wanted.quotes?.length && !found && !wanted.view ? h("p", {class: "note"}, "The quoted passage does not stand in this version word by word.") : null;
  const shown = wanted.view ? h("p", {class: "note"}, "You see the unfiltered text. This was written down.") : null;
  panel.querySelector(".short").replaceChildren(clean([KINDS[view.document.kind], view.document.title].filter(Boolean).join(" · ")));
  body.replaceChildren(...[shown, missing, node, actions(view, wanted, signal), related, versions].filter(Boolean));
  panel.setAttribute("aria-labelledby", "paneltitle");
  if (mark) mark.scrollIntoView({block: "center", behavior: "instant"});
  else panel.scrollTop = 0;
  // Beside the document, and only if the service has them.
  addRelated(related, view, wanted, open, signal).catch(() => {});
  addVersions(versions, view, wanted, signal).catch(() => {});
}

async function addRelated(section, view, wanted, open, signal) {
  const {related: list = []} = await get(documentPath(wanted.base, wanted.id, "/related"), {signal});
  if (!list.length || signal.aborted) return;
  section.append(h("h3", null, "Belongs to this"), h("ul", {class: "plain"}, list.slice(0, 50).map((item) =>
    h("li", null, h("button", {type: "button", class: "link", onclick: () => open(item.document)}, item.title || KINDS[item.kind] || "document"),
      h("span", {class: "dim"}, ` ${KINDS[item.kind] ?? item.kind ?? ""} · ${String(item.rel ?? "").replaceAll("-", " ")}${item.reason ? ` · joined by ${item.reason}` : ""} `), moment(item.time)))));
  section.hidden = false;
}

async function addVersions(section, view, wanted, signal) {
  const {versions = []} = await get(documentPath(wanted.base, wanted.id, "/history"), {signal});
  if (versions.length < 2 || signal.aborted) return;
  section.append(h("h3", null, "Versions"), h("ul", {class: "plain"}, [...versions].reverse().slice(0, 50).map((item) => {
    const label = item.state === "deleted" ? `${item.version}: deleted` : `Version ${item.version}`;
    const now = item.version === view.version;
    return h("li", null, now || item.state === "deleted" ? h("span", {"aria-current": now ? "true" : null}, now ? `${label} (shown)` : label)
      : h("button", {type: "button", class: "link", onclick: () => go({...wanted, view: undefined, version: item.version})}, label),
      h("span", {class: "dim"}, " of "), moment(item.validFrom ?? item.recorded));
  })));
  section.hidden = false;
}

function actions(view, wanted, signal) {
  const told = h("p", {class: "note", role: "status"});
  const box = h("div", {class: "actions"});
  const asked = h("button", {type: "button", onclick: () => attempt(() => download(view, wanted, "", signal))}, "Download the original");
  async function attempt(work) {
    asked.disabled = true;
    told.replaceChildren();
    try { await work(); } catch (error) {
      if (signal.aborted) return;
      told.replaceChildren(clean(error.status === 404 ? "The original is not kept for this document." : words(error)));
      if (error.status === 403 && mayReveal()) reveal();
    } finally { asked.disabled = false; }
  }
  function reveal() {
    if (box.querySelector("form")) return;
    const why = h("input", {id: "why", required: true, maxlength: 500, autocomplete: "off"});
    const withReason = (work) => attempt(async () => { if (!why.value.trim()) throw new ApiError("Say why first."); await work(why.value.trim()); });
    box.append(h("form", {class: "reveal", onsubmit: (event) => event.preventDefault()}, h("label", {for: "why"}, "Reason (it is written down with your key's name)"), why,
      h("button", {type: "button", onclick: () => withReason(async (text) => {
        const {ticket} = await post(documentPath(wanted.base, wanted.id, "/reveal"), {reason: text, original: true, version: view.version}, {signal});
        await download(view, wanted, ticket, signal);
      })}, "Download unfiltered"),
      h("button", {type: "button", onclick: () => withReason(async (text) => {
        const answer = await post(documentPath(wanted.base, wanted.id, "/reveal"), {reason: text, version: view.version}, {signal});
        await go({...wanted, view: {...view, document: answer.document}});
      })}, "Show unfiltered text")));
    why.focus();
  }
  box.append(asked, mayReveal() && !wanted.view ? h("button", {type: "button", onclick: reveal}, "Unfiltered…") : "", told);
  return box;
}

/** Fetches with the key and hands the bytes to the browser as a file; they are never shown in this page. */
async function download(view, wanted, ticket, signal) {
  const query = new URLSearchParams(ticket ? {reveal: ticket} : {version: String(view.version)});
  const response = await send(documentPath(wanted.base, wanted.id, `/original?${query}`), {signal});
  const address = URL.createObjectURL(new Blob([await response.blob()], {type: "application/octet-stream"}));
  h("a", {href: address, download: fileName(view.document)}).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

function fileName(document) {
  const last = clean(document.origin?.key ?? "").split(/[/!#]/).at(-1);
  const name = /\.[a-z0-9]{1,8}$/i.test(last) && document.kind === "document" ? last : clean(document.title).slice(0, 80) + ({email: ".eml", calendar: ".ics", teams: ".json"}[document.kind] ?? "");
  return name.replace(/[\\/:*?"<>|\n\t]/g, "_") || "original";
}
