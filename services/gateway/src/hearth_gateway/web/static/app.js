// Puts the views together: signing in and out, which view is shown, and the keys that work everywhere.

import {get, setKey, signedIn, whenRefused, words} from "./api.js";
import * as chat from "./chat.js";
import * as panel from "./panel.js";
import * as search from "./search.js";
import * as status from "./status.js";
import * as withheld from "./withheld.js";

const at = (id) => document.getElementById(id);
const VIEWS = {chat, search, status, withheld};
const form = at("signin");
let shown = "chat";
let mayRelease = false;

whenRefused((error) => { if (!form.hidden) return; leave(words(error)); });
panel.whoMayReveal(() => mayRelease);
chat.build(at("chat"), {variantPlace: status.variantPlace});
search.build(at("search"));
status.build(at("status"), {badge: at("trouble"), isSeen: () => shown === "status", scopes, choicesChanged: () => { Promise.allSettled([chat.load(), search.load()]); }});
withheld.build(at("withheld"));

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  at("signinerror").replaceChildren();
  setKey(at("key").value.trim());
  try { await enter(); } catch (error) { setKey(""); at("signinerror").replaceChildren(words(error)); at("key").focus(); }
  button.disabled = false;
});
at("signout").addEventListener("click", () => leave(""));
addEventListener("hashchange", () => { if (form.hidden) show(); });

function scopes(found) {
  mayRelease = found.has("reveal") || found.has("admin");
  document.querySelector('a[href="#withheld"]').hidden = !mayRelease;
}

/** Shows the views once the key was accepted. */
async function enter() {
  await get("/v1/models");
  at("key").value = "";
  form.hidden = true;
  at("nav").hidden = at("signout").hidden = false;
  await Promise.allSettled([chat.load(), search.load(), status.start()]);
  show();
}

/** Forgets the key and everything that was read with it. */
function leave(message) {
  setKey("");
  status.stop();
  chat.restart();
  search.clear();
  withheld.clear();
  panel.close();
  scopes(new Set());
  for (const name of Object.keys(VIEWS)) at(name).hidden = true;
  at("nav").hidden = at("signout").hidden = true;
  form.hidden = false;
  at("signinerror").replaceChildren(message);
  at("key").focus();
}

function show() {
  const wanted = location.hash.slice(1);
  const before = shown;
  shown = Object.hasOwn(VIEWS, wanted) && (wanted !== "withheld" || mayRelease) ? wanted : "chat";
  for (const name of Object.keys(VIEWS)) at(name).hidden = name !== shown;
  for (const link of at("nav").querySelectorAll("a")) {
    if (link.hash === `#${shown}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${shown[0].toUpperCase()}${shown.slice(1)} · Hearth`;
  if (shown !== before) panel.close();
  if (shown === "status") status.ask();
  if (shown === "withheld") withheld.load();
  if (VIEWS[shown].focus) VIEWS[shown].focus();
  else at("main").focus();
}

addEventListener("keydown", (event) => {
  if (!form.hidden || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") { if (panel.close() || chat.stop()) event.preventDefault(); return; }
  if (event.key !== "/" || event.target.closest("input:not([type=checkbox]), textarea, select")) return;
  event.preventDefault();
  if (!VIEWS[shown].focus) location.hash = "#search";
  else VIEWS[shown].focus();
});

if (signedIn()) {
  form.hidden = true;
  enter().catch((error) => leave(error.status === 401 ? words(error) : `${words(error)} Sign in again.`));
} else at("key").focus();
