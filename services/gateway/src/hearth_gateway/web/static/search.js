// Search: a query, filters, and a list that opens the same panel as a citation.

import {get, post, words} from "./api.js";
import {anchorWords} from "./document.js";
import {KINDS, TRUSTS, clean, count, h, moment} from "./dom.js";
import {openDocument} from "./panel.js";

const MODES = [["hybrid", "words and meaning"], ["sparse", "words"], ["dense", "meaning"]];
let query, form, results, told, base, source, running = null;

export function build(section) {
  query = h("input", {id: "query", type: "search", maxlength: 8000, required: true, placeholder: "Search everything", autocomplete: "off", onkeydown: intoList});
  base = h("select", {name: "base"}, h("option", {value: ""}, "all"));
  source = h("select", {name: "source"}, h("option", {value: ""}, "all"));
  results = h("ol", {id: "results", "aria-label": "Results", onkeydown: arrows});
  told = h("p", {class: "dim", role: "status"});
  form = h("form", {id: "find", role: "search", onsubmit: submit},
    h("div", {class: "row"}, h("label", {for: "query", class: "visually-hidden"}, "Search for"), query, h("button", {type: "submit", class: "primary"}, "Search")),
    h("details", {id: "filters"}, h("summary", null, "Filters"), h("div", {class: "filters"},
      choices("Kind", "kind", Object.entries(KINDS)), choices("Trust", "trust", Object.entries(TRUSTS)),
      labelled("Knowledge base", base), labelled("Source", source),
      labelled("People", h("input", {name: "people", placeholder: "names or addresses, with commas", autocomplete: "off"})),
      labelled("From", h("input", {name: "after", type: "date"})), labelled("To", h("input", {name: "before", type: "date"})),
      labelled("By", h("select", {name: "mode"}, MODES.map(([value, label]) => h("option", {value}, label)))),
      labelled("As it was known on", h("input", {name: "as_of", type: "datetime-local"})),
      h("label", {class: "check"}, h("input", {type: "checkbox", name: "expand"}), "with threads and meetings"),
      h("button", {type: "reset"}, "Clear filters"))));
  section.append(h("h1", {class: "visually-hidden"}, "Search"), form, told, results);
}

const labelled = (words_, field) => {
  field.id = `filter-${field.name}`;
  return h("div", {class: "field"}, h("label", {for: field.id}, words_), field);
};
const choices = (words_, name, options) => h("fieldset", null, h("legend", null, words_), options.map(([value, label]) =>
  h("label", {class: "check"}, h("input", {type: "checkbox", name, value}), label)));

export const focus = () => { query.focus(); query.select(); };

export function clear() { running?.abort(); form.reset(); results.replaceChildren(); told.replaceChildren(); }

/** Reads which knowledge bases and sources can be chosen. */
export async function load() {
  const {data} = await get("/v1/knowledge-bases");
  const names = [...new Set(data.flatMap((entry) => entry.sources.map((item) => item.source)))].sort();
  for (const [select, options] of [[base, data.map((entry) => entry.id)], [source, names]]) {
    const before = select.value;
    select.replaceChildren(h("option", {value: ""}, "all"), ...options.map((name) => h("option", {value: name}, name)));
    select.value = options.includes(before) ? before : "";
  }
}

function body() {
  const data = new FormData(form);
  const people = String(data.get("people")).split(",").map((name) => name.trim()).filter(Boolean);
  const moment_ = (text) => (text ? new Date(text).toISOString() : undefined);
  const asked = {query: query.value.trim(), top_k: 30, mode: data.get("mode"), as_of: moment_(data.get("as_of")), filters: {
    kind: data.getAll("kind"), trust: data.getAll("trust"), source: data.get("source") ? [data.get("source")] : [], people,
    after: data.get("after") ? moment_(`${data.get("after")}T00:00:00`) : undefined,
    before: data.get("before") ? moment_(`${data.get("before")}T23:59:59.999`) : undefined,
  }};
  if (data.get("base")) asked.knowledge_bases = [data.get("base")];
  if (data.get("expand")) asked.expand = ["thread", "meeting"];
  return asked;
}

async function submit(event) {
  event.preventDefault();
  if (!query.value.trim()) return;
  running?.abort();
  running = new AbortController();
  const {signal} = running;
  if (matchMedia("(max-width: 899px)").matches) form.querySelector("#filters").open = false; // so that a phone shows the results
  told.className = "dim";
  told.replaceChildren("Searching…");
  try {
    const asked = body();
    const answer = await post("/v1/search", asked, {signal});
    const terms = [...new Set(asked.query.toLowerCase().match(/[\p{L}\p{N}]{3,}/gu) ?? [])].slice(0, 20);
    results.replaceChildren(...answer.results.map((hit) => entry(hit, terms)));
    told.replaceChildren(answer.results.length ? `${count(answer.results.length, "passage")} in ${Math.max(1, Math.round(answer.took_ms))} ms` : "Nothing was found. Fewer filters or other words may help.");
  } catch (error) {
    if (signal.aborted) return;
    results.replaceChildren();
    told.className = "error";
    told.replaceChildren(words(error));
  }
}

function entry(hit, terms) {
  const open = () => openDocument({base: hit.knowledge_base, id: hit.document, version: hit.version, quotes: [hit.text], focus: {anchor: hit.anchor, permalink: hit.permalink}});
  const place = anchorWords(hit.anchor);
  const about = [KINDS[hit.kind] ?? hit.kind, hit.source, place].filter(Boolean).join(" · ");
  return h("li", null, h("button", {type: "button", class: "hit", onclick: open},
    h("span", {class: "title", dir: "auto"}, hit.title || "Without a title"), h("span", {class: "dim"}, `${about} · `, moment(hit.time) ?? ""),
    h("span", {class: "snippet", dir: "auto"}, highlight(clean(hit.text).slice(0, 400), terms))),
    hit.related?.length ? h("ul", {class: "plain related"}, hit.related.slice(0, 10).map((item) => h("li", null,
      h("button", {type: "button", class: "link", onclick: () => openDocument({base: hit.knowledge_base, id: item.document})}, item.title), h("span", {class: "dim"}, ` ${KINDS[item.kind] ?? ""} · ${item.rel} · ${item.reason}`)))) : null);
}

function highlight(text, terms) {
  if (!terms.length) return [text];
  return text.split(new RegExp(`(${terms.join("|")})`, "giu")).map((piece, index) => (index % 2 ? h("b", null, piece) : piece));
}

function intoList(event) {
  if (event.key !== "ArrowDown") return;
  const first = results.querySelector("button.hit");
  if (first) { event.preventDefault(); first.focus(); }
}

function arrows(event) {
  const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
  if (!step) return;
  const all = [...results.querySelectorAll("button.hit")];
  const at = all.indexOf(document.activeElement.closest("li")?.querySelector("button.hit"));
  event.preventDefault();
  if (at + step < 0) query.focus();
  else all[Math.min(all.length - 1, at + step)]?.focus();
}
