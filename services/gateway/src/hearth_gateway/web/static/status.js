// Status in sentences. The gateway hears of changes at once; this view asks it every two seconds while it is seen.

import {get, words} from "./api.js";
import {count, h, moment, reason, since} from "./dom.js";

const SEEN_MS = 2000, UNSEEN_MS = 15_000;
let box, trouble, timer = null, last = null, seen = () => false, active = false, onScopes = () => {}, onChoices = () => {}, choices = "", asking = null;

export function build(section, {badge, isSeen, scopes, choicesChanged}) {
  trouble = badge;
  seen = isSeen;
  onScopes = scopes;
  onChoices = choicesChanged;
  box = h("div", {id: "state"}, h("p", {class: "dim"}, "Asking…"));
  section.append(h("h1", {class: "visually-hidden"}, "Status"), box);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
}

export function start() { active = true; return ask(); }
export function stop() { active = false; last = null; choices = ""; clearTimeout(timer); asking?.abort(); }
export const lastStatus = () => last;

/** Where a variant of a model stands, and where the owner wants it. */
export function variantPlace(model, variant) {
  const variants = last?.models.find((entry) => entry.name === model)?.variants ?? [];
  return {node: variants.find((entry) => entry.name === variant)?.node, preferred: variants[0]?.node};
}

/** Asks once and plans the next time. */
export async function ask() {
  clearTimeout(timer);
  asking?.abort();
  if (!active || document.hidden) return;
  asking = new AbortController();
  const {signal} = asking;
  let wait = seen() ? SEEN_MS : UNSEEN_MS;
  try {
    last = await get("/v1/status", {signal: AbortSignal.any([signal, AbortSignal.timeout(10_000)])});
    if (signal.aborted) return;
    onScopes(new Set(last.scopes ?? []));
    tellChoices(last);
    draw(last);
  } catch (error) {
    if (signal.aborted) return;
    if (error.retryAfter) wait = Math.max(wait, error.retryAfter * 1000);
    trouble.hidden = false;
    if (seen()) box.replaceChildren(h("p", {class: "verdict bad", role: "status"}, `The state cannot be told now. ${error.name === "TimeoutError" ? "Hearth does not answer." : words(error)}`));
  }
  if (active && !signal.aborted) timer = setTimeout(ask, wait);
}

/** Models and knowledge bases that came, went or became ready change what can be chosen elsewhere in the page. */
function tellChoices(status) {
  const now = JSON.stringify([status.models.map((model) => [model.name, model.ready]), status.knowledge_bases.map((base) => base.name), status.sources.map((source) => source.source)]);
  if (choices && choices !== now) onChoices();
  choices = now;
}

function draw(status) {
  const problems = [...status.nodes.flatMap((node) => nodeWords(node, status)), ...status.models.flatMap((model) => modelWords(model, status)),
    ...status.knowledge_bases.flatMap(baseWords), ...status.sources.flatMap(sourceWords)].filter((line) => line.level !== "good");
  trouble.hidden = !problems.some((line) => line.level === "bad");
  trouble.setAttribute("aria-label", trouble.hidden ? "" : " (something needs attention)");
  trouble.setAttribute("role", "img");
  if (!seen()) return;
  const bad = problems.filter((line) => line.level === "bad").length;
  const verdict = bad ? `${count(bad, "thing needs", "things need")} attention.` : problems.length ? "Everything answers; some work is under way." : "All is well.";
  const old = box.querySelector(".verdict");
  const head = old ?? h("p", {role: "status"});
  const level = bad ? "bad" : problems.length ? "busy" : "good";
  head.className = `verdict ${level}`;
  if (head.textContent !== verdict) head.replaceChildren(verdict);
  const lists = [
    section("Machines", status.nodes.flatMap((node) => nodeWords(node, status)), "No machine is set up yet."),
    section("Models", status.models.flatMap((model) => modelWords(model, status)), "No model is set up yet."),
    section("Knowledge", status.knowledge_bases.flatMap(baseWords), "No knowledge base is open to this key."),
    section("Sources", status.sources.flatMap(sourceWords), "No source is set up yet."),
  ];
  box.replaceChildren(head, ...lists, h("p", {class: "dim"}, "As of ", moment(status.time ?? new Date().toISOString()), ". Asked again every two seconds."));
}

const line = (level, name, text) => ({level, name, text});
const LEVELS = {good: "fine", busy: "under way", bad: "needs attention"};

function section(title, lines, empty) {
  return h("section", null, h("h2", null, title), lines.length ? h("ul", {class: "state"}, lines.map(({level, name, text}) =>
    h("li", {class: level}, h("span", {class: "dot", role: "img", "aria-label": LEVELS[level]}), h("span", null, h("strong", null, name), ` ${text}`)))) : h("p", {class: "dim"}, empty));
}

const when = (text) => (text ? ` since ${since(text)}` : "");
const told = (text) => (text ? `: ${String(text).replace(/\.$/, "")}.` : ".");
// A variant that failed its last requests rests: the gateway knows before the operator has looked.
const answering = (model) => model.variants.find((variant) => variant.state === "Available" && !variant.resting);

function nodeWords(node, status) {
  const serves = status.models.filter((model) => model.variants.some((variant) => variant.node === node.name));
  if (node.reachable === false) {
    const instead = serves.map((model) => {
      const other = model.variants.find((variant) => variant.state === "Available" && variant.node !== node.name);
      return other ? `${model.name} answers from ${other.node} instead` : `${model.name} has no other machine`;
    });
    return [line("bad", node.name, `does not answer${when(node.since)}${instead.length ? `; ${instead.join("; ")}.` : told(node.message)}`)];
  }
  if (node.ready === false) return [line("bad", node.name, `is not ready${when(node.since)}${told(node.message)}`)];
  const unreachable = serves.length > 0 && serves.every((model) => model.variants.filter((variant) => variant.node === node.name).every((variant) => variant.state === "Unreachable"));
  if (unreachable) return [line("bad", node.name, "does not answer.")];
  const names = serves.map((model) => model.name);
  return [line("good", node.name, names.length ? `is up and holds ${names.join(", ")}.` : node.reachable ? "is up and holds no model." : "is known; it has not been heard of yet.")];
}

const DOES = {Chat: "answers questions", Embed: "reads texts for the search", Rerank: "orders what was found"};

function modelWords(model, status) {
  const waiting = Object.values(model.queue ?? {}).reduce((sum, number) => sum + number, 0);
  const busy = model.variants.reduce((sum, variant) => sum + (variant.slots?.busy ?? 0), 0);
  const queue = waiting ? ` ${count(waiting, "request waits", "requests wait")}.` : "";
  if (model.suspended) return [line("busy", model.name, `is switched off on purpose.${queue}`)];
  const first = model.variants[0];
  const now = answering(model);
  if (!now) {
    if (model.variants.some((variant) => variant.resting)) return [line("bad", model.name, `did not answer its last requests and is tried again in a moment.${queue}`)];
    const loading = model.variants.find((variant) => variant.state === "Loading" || variant.state === "Pending");
    if (loading) return [line("busy", model.name, `is being loaded${loading.node ? ` on ${loading.node}` : ""}${told(loading.reason || model.message)}${queue}`)];
    return [line("bad", model.name, `cannot answer${when(model.since)}${told(first?.reason || model.message)}${queue}`)];
  }
  const work = `${busy ? ` ${count(busy, "request is", "requests are")} being answered.` : ""}${queue}`;
  if (now !== first) return [line("busy", model.name, `answers from ${now.node} (${now.name}) instead of ${first.node || "its first choice"}${first.resting ? ", which did not answer the last requests." : told(first.reason)}${work}`)];
  return [line("good", model.name, `${DOES[model.task] ?? "answers"} on ${now.node}.${work}`)];
}

function baseWords(base) {
  if (base.error) return [line("bad", base.name, `cannot be asked${told(base.error)}`)];
  const has = `has ${count(base.documents, "document")} in ${count(base.chunks, "passage")}`;
  const withheld = base.quarantined ? ` ${count(base.quarantined, "passage is", "passages are")} withheld.` : "";
  if (base.queue?.failed) return [line("bad", base.name, `${has}; ${count(base.queue.failed, "document")} could not be indexed.${withheld}`)];
  if (base.queue?.pending) return [line("busy", base.name, `${has}; ${count(base.queue.pending, "more waits", "more wait")} to be indexed.${withheld}`)];
  if (base.ready === false && base.message) return [line("busy", base.name, `${has}; ${base.message}${withheld}`)];
  if (base.consistent === false) return [line("bad", base.name, `${has}; its index is not whole.${withheld}`)];
  return [line("good", base.name, `${has}, all indexed.${withheld}`)];
}

function sourceWords(source) {
  const name = source.source;
  const run = source.last_run;
  const holds = source.documents === undefined ? "" : ` It holds ${count(source.documents, "document")}.`;
  if (source.running) return [line("busy", name, `is being read now.${holds}`)];
  if (source.suspended) return [line("busy", name, `is switched off on purpose.${holds}`)];
  if (!run) {
    if (source.ready === false && source.message) return [line("busy", name, `has not been read yet${told(source.message)}`)];
    return [line("good", name, holds.trim().replace("It holds", "holds") || "is set up.")];
  }
  const counts = run.counts ?? {};
  const parts = [["added", "new"], ["updated", "changed"], ["deleted", "gone"]].filter(([key]) => counts[key]).map(([key, word]) => `${counts[key]} ${word}`);
  const changes = parts.length ? `: ${parts.join(", ")}` : ": nothing new";
  const withheld = Object.entries(run.withheld ?? {}).map(([code, number]) => `${number} because ${reason(code)}`);
  const held = withheld.length ? ` Withheld: ${withheld.join("; ")}.` : "";
  const at = since(run.finished ?? run.started);
  if (run.outcome === "Failed") return [line("bad", name, `could not be read at ${at}${told(run.firstError || source.message)}${holds}`)];
  if (run.outcome === "PartiallyFailed") return [line("bad", name, `was read at ${at}${changes}; ${count((counts.failed ?? 0) + (counts.quarantined ?? 0), "item")} could not be${told(run.firstError)}${held}${holds}`)];
  return [line("good", name, `was read at ${at}${changes}.${held}${holds}`)];
}
