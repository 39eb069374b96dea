// The client, as the page asks it: always with the key of this start.

import { save } from "/build.js";

const STORED = "ngrnotok-key";

// Where a password was asked for, the page comes with the key. Elsewhere it was traded for the word of a link.
let key = document.querySelector("meta[name=ngrnotok-key]").content || stored();

function stored() {
  try {
    return localStorage.getItem(STORED) ?? "";
  } catch {
    return "";
  }
}

// Takes the word of a link out of the address and trades it for the key. Why not, if that fails.
export async function signIn() {
  const word = location.hash.match(/^#once=(.*)$/)?.[1];
  if (word === undefined) return null;
  history.replaceState(null, "", "#/");
  try {
    key = (await askJson("/api/sign-in", { method: "POST", json: { word } })).key;
  } catch (error) {
    return error.message;
  }
  try {
    localStorage.setItem(STORED, key);
  } catch {
    // Then it is good for as long as the page stays open.
  }
  return null;
}

// Calls back when another tab has got the key of another start.
export const onSignIn = (told) => addEventListener("storage", (event) => event.key === STORED && told());

// Asks the API; a problem becomes an error that says what to do.
export async function ask(path, options = {}) {
  const { method = "GET", body, json, fields = {}, signal } = options;
  const headers = { ...fields };
  if (key) headers["X-Ngrnotok-Key"] = key;
  if (json !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, signal, body: json === undefined ? body : JSON.stringify(json) });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Error("The client does not answer. Does it still run?");
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  const text = [problem.title || `Status ${answer.status}`, problem.detail].filter(Boolean).join(". ");
  throw Object.assign(new Error(text), { code: problem.code });
}

export const askJson = async (path, options) => (await ask(path, options)).json();

// Saves what the API says as a file. A link to it could not carry the key.
export async function download(path, name) {
  const answer = await ask(path);
  save(await answer.blob(), name, answer.headers.get("content-type"));
}

// What happens, by a handler for each kind of event; again and again, until the key is no longer good.
export async function follow(path, handlers, lost) {
  let last = "";
  for (;;) {
    try {
      const answer = await ask(path, { fields: last ? { "Last-Event-ID": last } : {} });
      for await (const event of events(answer.body)) {
        last = event.id ?? last;
        handlers[event.event]?.(JSON.parse(event.data));
      }
      lost();
    } catch (error) {
      lost(error);
      if (error.code === "key_missing") return;
    }
    await new Promise((done) => setTimeout(done, 1000));
  }
}

// The events in a stream, each with its fields by name.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let read = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const whole = (read + value).split("\n\n");
    read = whole.pop();
    for (const text of whole) {
      const fields = text.split("\n").map((line) => line.match(/^(\w+): ?(.*)$/)?.slice(1));
      const event = Object.fromEntries(fields.filter(Boolean));
      if (event.data !== undefined) yield event;
    }
  }
}
