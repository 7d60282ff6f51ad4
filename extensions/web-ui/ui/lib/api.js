// The operators' interface.

const KEPT = "wasmgate.password";

/** What went wrong, in words for people. */
export class ApiError extends Error {
  constructor(status, code, message, requestId, details) {
    super(message);
    this.status = status;
    this.code = code;
    this.requestId = requestId;
    this.details = details;
  }
}

let lockedOut = () => {};

/** Called when the password is missing or wrong. */
export function onLockedOut(then) {
  lockedOut = then;
}

export function password() {
  return sessionStorage.getItem(KEPT);
}

/** Keeps a password until the tab is closed; `null` forgets it. */
export function keepPassword(word) {
  if (word === null) sessionStorage.removeItem(KEPT);
  else sessionStorage.setItem(KEPT, word);
}

function address(path, query) {
  const url = new URL(path, location.origin);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.append(name, value);
  }
  return url;
}

async function raw(method, path, { body, headers, signal, query } = {}) {
  const fields = new Headers(headers);
  // A field of its own, since `authorization` is where callers have their keys. It holds no other characters.
  const word = password();
  if (word !== null) fields.set("x-wasmgate-password", word);
  let content = body;
  if (body !== undefined && !(body instanceof Blob) && !(body instanceof ArrayBuffer) && typeof body !== "string") {
    content = JSON.stringify(body);
    if (!fields.has("content-type")) fields.set("content-type", "application/json");
  }
  let response;
  try {
    response = await fetch(address(path, query), { method, headers: fields, body: content, signal, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", "The gateway does not answer. Is it running, and is the network up?", null, null);
  }
  return response;
}

/** The error that an answer is. */
export async function failed(response) {
  const text = await response.text().catch(() => "");
  let document = null;
  try {
    document = JSON.parse(text);
  } catch {
    // A proxy's page, perhaps.
  }
  const error = document?.error ?? {};
  const message = (typeof error === "string" ? error : error.message) ?? (text.slice(0, 300) || `The gateway answered ${response.status}.`);
  const id = document?.request_id ?? response.headers.get("x-request-id");
  return new ApiError(response.status, error.code ?? error.type ?? String(response.status), message, id, error.details ?? null);
}

function isLockedOut(error) {
  return ["unauthorized", "forbidden", "too_many_attempts"].includes(error.code) && [401, 403, 429].includes(error.status);
}

async function call(method, path, options) {
  const response = await raw(method, path, options);
  if (!response.ok) {
    const error = await failed(response);
    if (isLockedOut(error)) lockedOut(error);
    throw error;
  }
  if (response.status === 204) return null;
  const text = await response.text();
  if (text === "") return null;
  const document = JSON.parse(text);
  return document?.success === true && "data" in document ? document.data : document;
}

/** Events of a stream: `{event, data}`, data as text. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let found = { event: "message", data: [] };
  try {
    for (;;) {
      const { value, done } = await reader.read();
      rest += value ?? "";
      const lines = rest.split(/\r\n|\n|\r(?!$)/);
      rest = done ? "" : lines.pop();
      for (const line of lines) {
        if (line === "") {
          if (found.data.length > 0) yield { event: found.event, data: found.data.join("\n") };
          found = { event: "message", data: [] };
        } else if (!line.startsWith(":")) {
          const colon = line.indexOf(":");
          const name = colon < 0 ? line : line.slice(0, colon);
          const text = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
          if (name === "event") found.event = text;
          else if (name === "data") found.data.push(text);
        }
      }
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Documents of a stream of lines. */
export async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    rest += value ?? "";
    const found = rest.split("\n");
    rest = done ? "" : found.pop();
    for (const line of found) if (line.trim() !== "") yield JSON.parse(line);
    if (done) return;
  }
}

export const api = {
  get: (path, options) => call("GET", path, options),
  post: (path, body, options) => call("POST", path, { ...options, body }),
  put: (path, body, options) => call("PUT", path, { ...options, body }),
  delete: (path, options) => call("DELETE", path, options),
  raw,
};
