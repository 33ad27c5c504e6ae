// The owner's view of what is withheld from index and prompt, and the way to release it.

import {get, post, documentPath, words} from "./api.js";
import {KINDS, count, h, moment, reason} from "./dom.js";
import {openDocument} from "./panel.js";

let box, told;

export function build(section) {
  told = h("p", {role: "status", class: "note"});
  box = h("div", {id: "quarantine"});
  section.append(h("h1", null, "Withheld passages"), h("p", {class: "dim"}, "These passages reach neither the search nor a model. Release one only if you know where it comes from; each release is written down."), told, box);
}

export const clear = () => { box.replaceChildren(); told.replaceChildren(); };

export async function load() {
  box.setAttribute("aria-busy", "true");
  try {
    const {data} = await get("/v1/knowledge-bases");
    const lists = await Promise.all(data.map(async (entry) => ({base: entry.id, items: await all(entry.id)})));
    const sections = lists.filter((list) => list.items.length).map(({base, items}) => h("section", null, h("h2", null, `${base}: ${count(items.length, "passage")}`), h("ul", {class: "cards"}, items.map((item) => card(base, item)))));
    const acts = (await Promise.all(data.map((entry) => get(`/v1/knowledge-bases/${encodeURIComponent(entry.id)}/audit?limit=50`).catch(() => ({items: []}))))).flatMap((page) => page.items);
    box.replaceChildren(...(sections.length ? sections : [h("p", null, "Nothing is withheld.")]), record(acts));
  } catch (error) {
    box.replaceChildren(h("p", {class: "error", role: "alert"}, error.status === 404 ? "This knowledge service does not list what it withholds." : words(error)));
  }
  box.removeAttribute("aria-busy");
}

const ACTS = {release: "released a passage of", reveal: "saw the unfiltered text of", "reveal-original": "downloaded the unfiltered original of", "erase-source": "erased"};

function record(acts) {
  if (!acts.length) return "";
  return h("details", null, h("summary", null, `What was released or shown (${acts.length})`), h("ul", null, acts.map((item) =>
    h("li", null, moment(item.time), ` key ${item.actor} ${ACTS[item.act] ?? item.act} `, h("span", {class: "address"}, item.document), `: ${item.reason}`))));
}

async function all(base) {
  const items = [];
  let after = null;
  do {
    const query = new URLSearchParams({limit: "100", ...(after ? {after} : {})});
    const page = await get(`/v1/knowledge-bases/${encodeURIComponent(base)}/quarantine?${query}`);
    items.push(...page.items);
    after = page.next;
  } while (after && items.length < 1000);
  return items;
}

let number = 0;

function card(base, item) {
  const id = `why${number += 1}`;
  const why = h("input", {id, required: true, maxlength: 500, autocomplete: "off"});
  const problem = h("p", {class: "error", role: "alert"});
  const release = async (event) => {
    event.preventDefault();
    const button = event.currentTarget.querySelector("button");
    button.disabled = true;
    try {
      const answer = await post(documentPath(base, item.document, "/release"), {reason: why.value.trim(), segments: [item.segment]});
      told.replaceChildren(`${count(answer.released ?? 1, "passage")} of “${item.title}” released. The search finds it within moments.`);
      told.scrollIntoView({block: "nearest"});
      await load();
    } catch (error) { problem.replaceChildren(words(error)); button.disabled = false; }
  };
  return h("li", {class: "card"},
    h("button", {type: "button", class: "link title", onclick: () => openDocument({base, id: item.document, version: item.version})}, item.title || "Without a title"),
    h("p", {class: "dim"}, `${KINDS[item.kind] ?? item.kind} · ${item.source} · `, moment(item.time) ?? "", ` · withheld because ${reason(item.reason)}`),
    item.excerpt ? h("blockquote", {dir: "auto"}, item.excerpt) : null,
    h("form", {onsubmit: release, class: "row"}, h("label", {for: id}, "Reason"), why, h("button", {type: "submit"}, "Release")), problem);
}
