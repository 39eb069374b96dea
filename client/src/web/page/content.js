// Bodies for people: text, JSON, XML, forms, pictures, HTML that cannot act, and hex of all else.

import { button, clear, el, save, size } from "/build.js";
import { ask } from "/client.js";
import * as layout from "/layout.js";

// More than this is shown as hex or text only as far as this; all of it can be saved.
const SHOWN = 256 * 1024;
const HEX = 16 * 1024;

// Rows of a table, at most.
const ROWS = 1000;

export async function body(id, part) {
  const answer = await ask(`/api/exchanges/${id}/body?part=${part}&decoded=1`);
  return {
    bytes: new Uint8Array(await answer.arrayBuffer()),
    cut: answer.headers.has("x-ngrnotok-cut"),
    trouble: answer.headers.get("x-ngrnotok-trouble"),
  };
}

export function textOf(bytes) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return /[\u0000-\u0008\u000e-\u001f]/.test(text.slice(0, 4096)) ? null : text;
  } catch {
    return null;
  }
}

const typeOf = (fields) => (fields.find((field) => field.name === "content-type")?.value || "").toLowerCase();

// The ways to look at a body, the best one first.
function views(bytes, fields, cut) {
  const type = typeOf(fields);
  const kind = type.split(";")[0].trim();
  // A character that was cut in two is no reason to show hex.
  const text = textOf(bytes) ?? (cut ? textOf(bytes.slice(0, -3)) : null);
  const ways = [];
  if (text !== null) {
    const start = text.trimStart()[0];
    const isShort = text.length <= 1024 * 1024;
    if (kind.endsWith("json") || (isShort && (start === "{" || start === "["))) {
      try {
        // Of what is long only the beginning is shown, right or wrong.
        if (isShort) JSON.parse(text);
        ways.push(["JSON", () => json(text)]);
      } catch (error) {
        if (kind.endsWith("json") && !cut) ways.push(["JSON", () => wrong(text, error)]);
      }
    }
    if (kind.endsWith("xml")) ways.push(["XML", () => xml(text)]);
    if (kind === "text/html") ways.push(["Page", () => page(text)]);
    if (kind === "application/x-www-form-urlencoded") ways.push(["Form", () => el("div", {}, pairs([...new URLSearchParams(text)]))]);
  }
  if (kind === "multipart/form-data") {
    const parts = multipart(bytes, type);
    if (parts) ways.push(["Form", () => el("div", {}, pairs(parts))]);
  }
  if (/^image\/(png|jpeg|gif|webp|avif|bmp|x-icon|vnd\.microsoft\.icon|svg\+xml)$/.test(kind) && !cut) ways.push(["Picture", () => picture(bytes, kind)]);
  if (text !== null) ways.push(["Text", () => cutOff(text)]);
  ways.push(["Hex", () => dump(bytes)]);
  return ways;
}

export function view(part, about, { bytes, cut, trouble }, name) {
  const box = el("div", { class: "content" });
  const ways = views(bytes, about.fields, cut);
  const tabs = el("div", { class: "tabs", role: "tablist" });
  const room = el("div", { class: "room" });
  const pick = (at) => {
    [...tabs.querySelectorAll("[role=tab]")].forEach((tab, place) => tab.setAttribute("aria-selected", place === at));
    room.replaceChildren(ways[at][1]());
  };
  ways.forEach(([label], at) => tabs.append(button(label, () => pick(at), { role: "tab" })));
  tabs.append(el("span", { class: "dim grow" }, note(about, bytes, cut)));
  tabs.append(button("Save", () => save(bytes, name, "application/octet-stream"), { class: "quiet" }));
  box.append(tabs);
  if (trouble) box.append(el("p", { class: "warn" }, `It could not be unpacked: ${trouble}`));
  box.append(room);
  pick(0);
  return box;
}

function note(about, bytes, cut) {
  const { bytes: whole, kept } = about.body;
  if (kept < whole) return `the first ${size(kept)} of ${size(whole)}`;
  if (cut) return `the first ${size(bytes.length)}`;
  return bytes.length === whole ? size(whole) : `${size(bytes.length)}, packed ${size(whole)}`;
}

export const pre = (text, kind = "") => el("pre", { class: kind, tabindex: 0 }, text);

// As much as is shown, and a word if that is not all.
export function cutOff(text, kind, cut = text.length > SHOWN) {
  const shown = pre(text.slice(0, SHOWN), kind);
  return cut ? el("div", {}, shown, el("p", { class: "dim" }, "… Only the beginning is shown; Save has all that was kept.")) : shown;
}

// Coloured by what they are; long ones as plain text, which is as good and much faster.
export function json(source) {
  const { text, cut } = layout.json(source);
  if (cut || text.length > 100_000) return cutOff(text, "", cut);
  const out = pre("", "json");
  const token = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
  let last = 0;
  for (const match of text.matchAll(token)) {
    out.append(text.slice(last, match.index));
    const kind = match[2] ? "key" : match[1] ? "str" : "lit";
    out.append(el("span", { class: kind }, match[1] ?? match[0]), match[2] ?? "");
    last = match.index + match[0].length;
  }
  out.append(text.slice(last));
  return out;
}

function xml(text) {
  const found = layout.xml(text);
  return found ? cutOff(found.text, "", found.cut) : cutOff(text);
}

// Where JSON is wrong, with what stands around it.
function wrong(text, error) {
  const at = Number(error.message.match(/position (\d+)/)?.[1] ?? -1);
  const box = el("div", {}, el("p", { class: "warn" }, error.message));
  box.append(at < 0 ? cutOff(text) : el("pre", {}, text.slice(Math.max(0, at - 2000), at), el("mark", {}, text[at] ?? "⌁"), text.slice(at + 1, at + 2000)));
  return box;
}

// Without scripts, without an origin, without anything from outside.
function page(text) {
  const shut = `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:">`;
  const frame = el("iframe", { sandbox: "", referrerpolicy: "no-referrer", title: "The page, without its scripts, styles and pictures" });
  frame.srcdoc = shut + text.slice(0, 4 * SHOWN);
  return el("div", {}, frame, el("p", { class: "dim" }, "As a reader without scripts, styles and pictures has it."));
}

function picture(bytes, kind) {
  let packed = "";
  for (let at = 0; at < bytes.length; at += 0x8000) packed += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return el("div", { class: "picture" }, el("img", { src: `data:${kind};base64,${btoa(packed)}`, alt: "The body" }));
}

export function pairs(list) {
  const rows = list.slice(0, ROWS).map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, value)));
  const more = list.length > ROWS ? el("p", { class: "dim" }, `… and ${list.length - ROWS} more`) : null;
  return [el("table", { class: "fields" }, el("tbody", {}, rows)), more];
}

function multipart(bytes, type) {
  const boundary = type.match(/boundary="?([^";]+)"?/)?.[1];
  // One character a byte, so that places are the same.
  const text = new TextDecoder("latin1").decode(bytes);
  // The type was made lower case, a boundary must not be.
  const real = boundary && text.slice(2, 2 + boundary.length);
  if (!real || real.toLowerCase() !== boundary) return null;
  const parts = [];
  for (const part of text.split(`--${real}`).slice(1)) {
    const [head, ...rest] = part.split("\r\n\r\n");
    const name = head.match(/[; ]name="([^"]*)"/)?.[1];
    if (name === undefined || !rest.length) continue;
    const value = rest.join("\r\n\r\n").replace(/\r\n$/, "");
    const file = head.match(/filename="([^"]*)"/)?.[1];
    const raw = Uint8Array.from(value, (one) => one.charCodeAt(0));
    parts.push([name, file === undefined ? (textOf(raw) ?? `${raw.length} bytes`) : `${file || "no file"} (${size(raw.length)})`]);
  }
  return parts;
}

export const dump = (bytes) => cutOff(hex(bytes.subarray(0, HEX)), "hex", bytes.length > HEX);

function hex(bytes) {
  const lines = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const some = [...bytes.subarray(at, at + 16)];
    const numbers = some.map((byte) => byte.toString(16).padStart(2, "0"));
    const left = numbers.slice(0, 8).join(" ").padEnd(23);
    const right = numbers.slice(8).join(" ").padEnd(23);
    const seen = some.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : "·")).join("");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${left}  ${right}  ${seen}`);
  }
  return lines.join("\n");
}

// Puts a body in its place once it is there.
export async function into(room, id, part, about) {
  if (!about.body.kept) {
    clear(room);
    const { bytes, ended } = about.body;
    const text = bytes ? `${size(bytes)}, of which nothing was kept.` : ended ? "No body." : "Nothing yet.";
    room.append(el("p", { class: "dim" }, text));
    return null;
  }
  const found = await body(id, part);
  room.replaceChildren(view(part, about, found, `${part}-${id}`));
  return found;
}
