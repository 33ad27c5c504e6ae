// Finds a quoted passage in a document's segments, whatever happened to its white space on the way.

import {clean} from "./dom.js";

const SAME = {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-", "\u00a0": " "};
const MIN_PART = 12;

/** Lower case, one space for any white space; `at[i]` is the place of character i in the original. */
function fold(text) {
  let out = "";
  const at = [];
  let space = true;
  for (let index = 0; index < text.length; index += 1) {
    const char = SAME[text[index]] ?? text[index];
    if (/\s/.test(char)) { if (!space) { out += " "; at.push(index); } space = true; continue; }
    const lower = char.toLowerCase();
    out += lower.length === 1 ? lower : char;
    at.push(index);
    space = false;
  }
  return {text: out, at};
}

/** For each text a list of [start, end) to mark: of the first quote that stands there as a whole, or with `parts` in parts. */
export function find(texts, quotes, parts) {
  const ranges = texts.map(() => []);
  // One character may stand for a run of white space, never for less: the sum of lengths is enough, one more each for the joint.
  const room = texts.reduce((sum, text) => sum + text.length + 1, 0);
  const owners = new Int32Array(room), offsets = new Int32Array(room);
  let whole = "";
  texts.forEach((text, segment) => {
    const folded = fold(text);
    const body = folded.text.endsWith(" ") || !folded.text ? folded.text : `${folded.text} `;
    for (let index = 0; index < body.length; index += 1) {
      owners[whole.length + index] = segment;
      offsets[whole.length + index] = folded.at[index] ?? text.length;
    }
    whole += body;
  });
  const take = (quote) => {
    const wanted = fold(quote).text.trim();
    const start = wanted ? whole.indexOf(wanted) : -1;
    if (start < 0) return false;
    for (let index = start; index < start + wanted.length; index += 1) {
      const segment = owners[index], offset = offsets[index];
      const last = ranges[segment].at(-1);
      if (last && offset >= last[0] && (offset <= last[1] || !texts[segment].slice(last[1], offset).trim())) last[1] = Math.max(last[1], offset + 1);
      else if (offset < texts[segment].length) ranges[segment].push([offset, offset + 1]);
    }
    return true;
  };
  for (const quote of quotes.map(clean)) {
    if (!quote.trim()) continue;
    if (take(quote)) return ranges;
    if (!parts) continue;
    // The index adds headings and cuts between segments: take what stands there line by line, then by sentence.
    for (const cut of [/\n+/, /(?<=[.!?])\s+|\n+/]) {
      const hits = quote.split(cut).filter((part) => part.trim().length >= MIN_PART).map(take);
      if (hits.some(Boolean)) return ranges.map(merge);
    }
  }
  return ranges;
}

function merge(list) {
  const out = [];
  for (const [start, end] of [...list].sort((a, b) => a[0] - b[0])) {
    if (out.length && start <= out.at(-1)[1]) out.at(-1)[1] = Math.max(out.at(-1)[1], end);
    else out.push([start, end]);
  }
  return out;
}
