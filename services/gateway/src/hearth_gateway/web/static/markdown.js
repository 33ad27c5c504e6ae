// A small part of Markdown, as elements. What a model writes can become emphasis, lists, code and tables: no link, no image,
// no attribute, no address that anything would load. Everything else stays the text that it is.

import {clean, h} from "./dom.js";

const OPEN = "\ue000", SHUT = "\ue001"; // around a citation's number, put in by withMarks only
const MAX_CHARS = 200_000, MAX_PARAGRAPH = 8_000, MAX_DEPTH = 6, MAX_COLUMNS = 20;
const LIST = /^( *)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const RULE = /^ {0,3}([-*_])( *\1){2,} *$/;
const INLINE = /(`+)([^`]|[^`][\s\S]*?[^`])\1(?!`)|!?\[([^\][\n]*)\]\(([^()\s]*)[^()\n]*\)|(\*\*|__)(?=\S)([\s\S]{1,2000}?\S)\5|(\*|_)(?=[^\s*_])([^*_\n]{1,1000}?)\7(?![\p{L}\p{N}])|~~(?=\S)([^~\n]{1,1000}?)~~/gu;

/** The answer with numbers put behind the spans that sources carry. Offsets are code points. */
export function withMarks(text, marks) {
  const points = Array.from(text, (point) => (point === OPEN || point === SHUT ? "\ufffd" : point));
  for (const {end, n} of [...marks].sort((a, b) => b.end - a.end || b.n - a.n)) {
    let at = Math.min(end, points.length);
    while (at > 0 && /\s/.test(points[at - 1])) at -= 1;
    points.splice(at, 0, `${OPEN}${n}${SHUT}`);
  }
  return points.join("");
}

/** Renders into a fragment. `mark(n)` makes the element for a citation's number. */
export function render(text, mark = () => "") {
  const lines = clean(text.slice(0, MAX_CHARS)).split("\n");
  const fragment = document.createDocumentFragment();
  fragment.append(...blocks(lines, mark, 0));
  return fragment;
}

function blocks(lines, mark, depth) {
  const out = [];
  let at = 0;
  const take = (test) => { const from = at; while (at < lines.length && test(lines[at])) at += 1; return lines.slice(from, at); };
  while (at < lines.length) {
    const line = lines[at];
    const fence = FENCE.exec(line);
    const heading = /^ {0,3}(#{1,6})\s+(.*?)\s*#*$/.exec(line);
    if (!line.trim()) at += 1;
    else if (fence) {
      at += 1;
      const body = take((next) => !next.trim().startsWith(fence[1]));
      at += 1;
      out.push(h("pre", null, h("code", null, texts(body.join("\n"), mark))));
    } else if (heading) {
      at += 1;
      out.push(h(`h${Math.min(6, heading[1].length + 2)}`, null, inline(heading[2], mark, 0)));
    } else if (RULE.test(line)) { at += 1; out.push(h("hr")); }
    else if (/^ {0,3}>/.test(line)) {
      const body = take((next) => /^ {0,3}>/.test(next)).map((next) => next.replace(/^ {0,3}> ?/, ""));
      out.push(h("blockquote", null, depth < MAX_DEPTH ? blocks(body, mark, depth + 1) : texts(body.join("\n"), mark)));
    } else if (LIST.test(line)) {
      const indent = LIST.exec(line)[1].length;
      out.push(list(take((next) => LIST.test(next) || /^\s+\S/.test(next)), indent, mark, depth));
    } else if (line.includes("|") && /^[\s|:-]+$/.test(lines[at + 1] ?? "") && lines[at + 1].includes("-")) {
      out.push(table(take((next) => next.includes("|")), mark));
    } else {
      const from = at;
      at += 1;
      take((next) => next.trim() && !FENCE.test(next) && !LIST.test(next) && !/^ {0,3}(#{1,6}\s|>)/.test(next) && !RULE.test(next));
      out.push(h("p", null, inline(lines.slice(from, at).join("\n"), mark, 0)));
    }
  }
  return out;
}

function list(lines, indent, mark, depth) {
  const ordered = /\d/.test(LIST.exec(lines[0])[2]);
  const items = [];
  for (const line of lines) {
    const found = LIST.exec(line);
    if (found && (found[1].length <= indent + 1 || !items.length)) items.push([found[3]]);
    else items.at(-1).push(line.slice(Math.min(indent + 2, line.search(/\S/))));
  }
  return h(ordered ? "ol" : "ul", null, items.map(([first, ...rest]) =>
    h("li", null, inline(first, mark, 0), rest.length ? (depth < MAX_DEPTH ? blocks(rest, mark, depth + 1) : texts(rest.join("\n"), mark)) : null)));
}

function table(lines, mark) {
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").slice(0, MAX_COLUMNS).map((cell) => cell.trim());
  const row = (tag, line) => h("tr", null, cells(line).map((cell) => h(tag, null, inline(cell, mark, 0))));
  return h("div", {class: "scroll"}, h("table", null, h("thead", null, row("th", lines[0])), h("tbody", null, lines.slice(2).map((line) => row("td", line)))));
}

function inline(text, mark, depth) {
  if (depth >= MAX_DEPTH || text.length > MAX_PARAGRAPH) return texts(text, mark);
  const out = [];
  let from = 0;
  for (const found of text.matchAll(INLINE)) {
    const [whole, tick, code, label, target, strong, strongText, em, emText, gone] = found;
    // `snake_case_names` are no emphasis.
    if ((strong === "__" || em === "_") && /[\p{L}\p{N}]/u.test(text[found.index - 1] ?? "")) continue;
    if (found.index < from) continue;
    out.push(...texts(text.slice(from, found.index), mark));
    from = found.index + whole.length;
    if (tick) out.push(h("code", null, texts(code, mark)));
    else if (label !== undefined) out.push(...texts(label, mark), h("span", {class: "address"}, ` (${target})`));
    else if (strong) out.push(h("strong", null, inline(strongText, mark, depth + 1)));
    else if (em) out.push(h("em", null, inline(emText, mark, depth + 1)));
    else out.push(h("del", null, inline(gone, mark, depth + 1)));
  }
  return [...out, ...texts(text.slice(from), mark)];
}

function texts(text, mark) {
  return text.split(/\ue000(\d{1,4})\ue001/).map((piece, index) => (index % 2 ? mark(Number(piece)) : document.createTextNode(piece)));
}
