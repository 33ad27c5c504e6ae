// Calls to this gateway. The key travels in one header, never in an address.

const STORE = "hearth.key";
let key = sessionStorage.getItem(STORE) ?? "";
let onRefused = () => {};

export class ApiError extends Error {
  constructor(message, {status = 0, code = "", retryAfter = null} = {}) {
    super(message);
    Object.assign(this, {status, code, retryAfter});
  }
}

export const signedIn = () => key !== "";
export const whenRefused = (call) => { onRefused = call; };

/** Keeps the key for this tab: it survives a reload and not the tab. */
export function setKey(value) {
  key = value;
  if (value) sessionStorage.setItem(STORE, value);
  else sessionStorage.removeItem(STORE);
}

/** What a person can do about an error. */
export function words(error) {
  if (error.name === "AbortError") return "Stopped.";
  const wait = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
  if (error.status === 401) return "This key is not accepted: it is wrong, expired or revoked.";
  if (error.status === 429) return `Too many requests at the moment. ${error.message}${wait}`;
  if (!(error instanceof ApiError)) return "Hearth does not answer. Is this machine still on its network?";
  return `${error.message}${wait}`;
}

/** Sends a request; returns the Response, or throws an ApiError with the gateway's own sentence. */
export async function send(path, {method = "GET", body, signal, headers = {}} = {}) {
  const used = key;
  const response = await fetch(path, {
    method, signal, cache: "no-store", credentials: "omit", referrerPolicy: "no-referrer", redirect: "error",
    headers: {Authorization: `Bearer ${used}`, ...(body === undefined ? {} : {"Content-Type": "application/json"}), ...headers},
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (response.ok) return response;
  let told = {};
  try { told = (await response.json()).error ?? {}; } catch { /* a proxy's page: the status says enough */ }
  const wait = Number.parseInt(response.headers.get("retry-after") ?? "", 10);
  const error = new ApiError(String(told.message ?? `Hearth answered with status ${response.status}.`), {
    status: response.status, code: String(told.code ?? ""), retryAfter: Number.isFinite(wait) ? wait : null,
  });
  if (error.status === 401 && used === key) onRefused(error);
  throw error;
}

export const get = async (path, options) => (await send(path, options)).json();
export const post = async (path, body, options) => (await send(path, {...options, method: "POST", body})).json();

export const documentPath = (base, id, part = "") =>
  `/v1/knowledge-bases/${encodeURIComponent(base)}/documents/${encodeURIComponent(id)}${part}`;

/** Yields the data of server-sent events; returns whether the stream said that it is complete. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const {done, value} = await reader.read();
      if (done) return false;
      const blocks = (rest + value).split(/\r?\n\r?\n/);
      rest = blocks.pop();
      for (const block of blocks) {
        const data = block.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim()).join("\n");
        if (data === "[DONE]") return true;
        if (!data) continue;
        try { yield JSON.parse(data); } catch { throw new ApiError("The answer came damaged and was cut off here."); }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
