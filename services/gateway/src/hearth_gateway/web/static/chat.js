// Chat: streams the answer, marks what its sources carry, and opens them.

import {ApiError, events, get, send, words} from "./api.js";
import {h} from "./dom.js";
import {render, withMarks} from "./markdown.js";
import {openDocument} from "./panel.js";

const TOO_LONG = "context_length_exceeded";
let messages = [];
let running = null;
let room, log, question, model, base, button, told;
let placeOf = () => null;

export function build(section, {variantPlace}) {
  placeOf = variantPlace;
  room = section;
  log = h("div", {id: "log", role: "log", "aria-label": "Conversation", "aria-live": "polite"}, welcome());
  question = h("textarea", {id: "question", rows: 2, maxlength: 20000, placeholder: "Ask about your mail, chats, meetings and documents", onkeydown: keys, oninput: grow});
  model = h("select", {id: "model"});
  base = h("select", {id: "base"});
  button = h("button", {type: "submit", class: "primary"}, "Ask");
  told = h("p", {class: "visually-hidden", role: "status"});
  room.append(h("h1", {class: "visually-hidden"}, "Chat"), log, h("form", {id: "ask", onsubmit: submit},
    h("label", {for: "question", class: "visually-hidden"}, "Question"), question,
    h("div", {class: "row"}, h("label", {for: "model"}, "Model"), model, h("label", {for: "base"}, "Knowledge"), base,
      h("span", {class: "grow"}), h("button", {type: "button", onclick: restart}, "New conversation"), button)), told);
}

const welcome = () => h("p", {class: "dim welcome"}, "Answers come from models in your own house and name their sources. Nothing you ask leaves it.");

export const focus = () => question.focus();

/** Reads what can be asked. Raises what the call raises. */
export async function load() {
  const [models, bases] = await Promise.all([get("/v1/models"), get("/v1/knowledge-bases").catch((error) => { if (error.status === 403) return {data: []}; throw error; })]);
  const chats = models.data.filter((entry) => entry.hearth?.task === "Chat" && !entry.hearth.knowledge_base);
  fill(model, chats.map((entry) => [entry.id, entry.hearth.ready ? entry.id : `${entry.id} (not ready)`]), chats.find((entry) => entry.hearth.ready)?.id);
  const names = bases.data.map((entry) => entry.id);
  fill(base, [...names.map((name) => [name, name]), ...(names.length > 1 ? [["*", "all"]] : []), ["", "none"]], names[0] ?? "");
  base.dataset.all = JSON.stringify(names);
}

function fill(select, options, chosen) {
  const before = select.value;
  select.replaceChildren(...options.map(([value, label]) => h("option", {value}, label)));
  select.value = options.some(([value]) => value === before) && before ? before : chosen ?? "";
}

/** Forgets the conversation. */
export function restart() {
  running?.abort();
  messages = [];
  log.replaceChildren(welcome());
  question.value = "";
  grow();
}

function grow() { question.rows = Math.min(8, Math.max(2, question.value.split("\n").length)); }

function keys(event) {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); if (!running) question.form.requestSubmit(); }
}

/** Stops a running answer; says whether there was one. */
export function stop() { const was = running; was?.abort(); return Boolean(was); }

async function submit(event) {
  event.preventDefault();
  if (running) { running.abort(); return; }
  const text = question.value.trim();
  if (!text) return;
  question.value = "";
  grow();
  log.querySelector(".welcome")?.remove();
  log.append(h("article", {class: "turn mine", "aria-label": "You"}, h("p", {class: "text", dir: "auto"}, text)));
  messages.push({role: "user", content: text});
  const answer = h("article", {class: "turn theirs", "aria-label": "Hearth", "aria-busy": "true"}, h("div", {class: "answer"}), h("p", {class: "wait dim"}, "Reading and thinking…"));
  log.append(answer);
  answer.scrollIntoView({block: "end"});
  running = new AbortController();
  button.replaceChildren("Stop");
  told.replaceChildren("Answering");
  const state = {text: "", answer, drawn: false, hearth: null, response: null, done: false, left: 0};
  try { await converse(state, running.signal); } catch (error) { state.error = error; }
  if (state.text) messages.push({role: "assistant", content: state.text});
  else messages.pop();
  finish(state, running.signal.aborted);
  running = null;
  button.replaceChildren("Ask");
  told.replaceChildren(state.error ? "The answer failed" : "The answer is complete");
}

/** Asks; where the conversation has outgrown the model, asks again without its oldest part. */
async function converse(state, signal) {
  let sent = [...messages];
  for (;;) {
    try { state.response = await send("/v1/chat/completions", {method: "POST", signal, body: body(sent), headers: {"x-hearth-priority": "interactive"}}); break; } catch (error) {
      if (error.code !== TOO_LONG || sent.length < 3) throw error;
      sent = sent.slice(2);
      state.left += 2;
    }
  }
  const stream = events(state.response);
  try { await follow(stream, state); } finally { await stream.return().catch(() => {}); }
  if (!state.done) throw new ApiError("The answer broke off: the connection ended too early.");
}

async function follow(stream, state) {
  for (;;) {
    const {done, value} = await stream.next();
    if (done) { state.done = value; return; }
    if (value.error) throw new ApiError(String(value.error.message ?? "The model failed."), {status: 502, code: String(value.error.code ?? "")});
    if (value.hearth) state.hearth = value.hearth;
    const piece = value.choices?.[0]?.delta?.content;
    if (typeof piece === "string" && piece) { state.text += piece; draw(state); }
  }
}

function body(sent) {
  const asked = {model: model.value, messages: sent, stream: true};
  if (base.value === "*") asked.knowledge_bases = JSON.parse(base.dataset.all);
  else if (base.value) asked.knowledge_bases = [base.value];
  return asked;
}

function draw(state) {
  if (state.drawn) return;
  state.drawn = true;
  requestAnimationFrame(() => {
    state.drawn = false;
    if (state.finished) return;
    const near = log.scrollHeight - log.scrollTop - log.clientHeight < 120;
    state.answer.querySelector(".wait")?.remove();
    state.answer.firstChild.replaceChildren(render(state.text));
    if (near) log.scrollTop = log.scrollHeight;
  });
}

function finish(state, stopped) {
  state.finished = true;
  const {answer} = state;
  const citations = state.hearth?.citations ?? [];
  const marks = citations.flatMap((citation) => (citation.spans ?? []).map(([, end]) => ({end, n: citation.n})));
  const byNumber = new Map(citations.map((citation) => [citation.n, citation]));
  const mark = (n) => (byNumber.has(n) ? h("button", {type: "button", class: "cite", onclick: () => open(byNumber.get(n)), "aria-label": `Source ${n}: ${byNumber.get(n).title}`}, String(n)) : "");
  answer.firstChild.replaceChildren(render(withMarks(state.text, marks), mark));
  answer.querySelector(".wait")?.remove();
  if (citations.length) answer.append(sources(citations));
  if (state.text && !state.error) answer.append(h("p", {class: "by dim"}, by(state)));
  if (state.left) answer.append(h("p", {class: "note"}, "The conversation is longer than this model can hold: its oldest part was left out."));
  if (stopped) answer.append(h("p", {class: "note"}, "Stopped."));
  else if (state.error) answer.append(h("p", {class: "error", role: "alert"}, words(state.error)));
  answer.removeAttribute("aria-busy");
}

function by(state) {
  const headers = state.response.headers;
  const variant = state.hearth?.variant ?? headers.get("x-hearth-variant") ?? "";
  const name = model.value;
  const place = placeOf(name, variant);
  const degraded = state.hearth?.degraded ?? headers.get("x-hearth-degraded") === "true";
  return `Answered by ${name}${variant ? `.${variant}` : ""}${place?.node ? ` on ${place.node}` : ""}${degraded ? `. The preferred model${place?.preferred ? ` on ${place.preferred}` : ""} is away: this answer may be simpler than usual.` : "."}`;
}

function sources(citations) {
  const sorted = [...citations].sort((a, b) => Number(b.matched) - Number(a.matched) || a.n - b.n);
  const entry = (citation) => h("li", {value: citation.n}, h("button", {type: "button", class: "source", onclick: () => open(citation)},
    h("span", {class: "number"}, String(citation.n)), h("span", {class: "title", dir: "auto"}, citation.title || "Without a title"), h("q", {dir: "auto"}, citation.quote)));
  const used = sorted.filter((citation) => citation.matched);
  const read = sorted.filter((citation) => !citation.matched);
  return h("div", {class: "sources"},
    used.length ? [h("h2", null, "Sources"), h("ol", null, used.map(entry))] : null,
    read.length ? h("details", {open: !used.length}, h("summary", null, used.length ? `Also read (${read.length})` : "Read, but no sentence of the answer stands in them"), h("ol", null, read.map(entry))) : null);
}

const open = (citation) => openDocument({base: citation.knowledge_base, id: citation.document, version: citation.version, quotes: [citation.quote], focus: {permalink: citation.permalink}});
