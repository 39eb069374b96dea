// Sending again, with or without changes, copying as a shell command, and comparing what came of it.

import { $, button, copy, doing, el, toast } from "/build.js";
import { askJson } from "/client.js";
import { body, textOf } from "/content.js";
import { curl } from "/curl.js";
import * as layout from "/layout.js";
import { line, shownIds } from "/list.js";

export function dialog(title, ...content) {
  const box = $("dialog");
  box.replaceChildren(
    el("header", {}, el("h1", {}, title), button("✕", () => box.close(), { class: "quiet", title: "Close (Esc)", "aria-label": "Close" })),
    ...content,
  );
  if (!box.open) box.showModal();
  return box;
}

async function send(one, change) {
  const sent = await askJson(`/api/exchanges/${one.id}/resend`, { method: "POST", json: change });
  toast(`Sent as #${sent.id}`);
  location.hash = `#/${sent.id}`;
}

export const resend = (one) => send(one, {});

const LINE_END = /\r\n|\r|\n/;

// The path and query as they were sent: a URL object would resolve ".." and encode what was not.
const pathOf = (url) => url.replace(/^[a-z]+:\/\/[^/?#]*/i, "") || "/";

// A textarea turns every line end into \n. Lines before and after the edit get theirs back, the lines between them the
// one that the body has most of.
export function withLineEnds(before, edited) {
  const ends = before.match(new RegExp(LINE_END, "g")) ?? [];
  const [old, now] = [before.split(LINE_END), edited.split("\n")];
  const shorter = Math.min(old.length, now.length);
  let head = 0;
  while (head < shorter && old[head] === now[head]) head++;
  let tail = 0;
  while (tail < shorter - head && old.at(-1 - tail) === now.at(-1 - tail)) tail++;
  const count = (end) => ends.filter((one) => one === end).length;
  const usual = ["\n", "\r\n", "\r"].reduce((most, end) => (count(end) > count(most) ? end : most));
  const end = (at) => {
    if (at < head) return ends[at] ?? usual;
    const fromTheEnd = now.length - 1 - at;
    return fromTheEnd <= tail ? (ends.at(-fromTheEnd) ?? usual) : usual;
  };
  return now.map((line, at) => (at < now.length - 1 ? line + end(at) : line)).join("");
}

// What the form changes. What nobody has touched is not in it, so it is sent byte for byte as it was recorded.
function changeOf(one, form, untouched, text, bom) {
  const change = {};
  const [method, path, fields, content, tunnel] = form.map((element) => element?.value);
  if (method.trim() !== one.method) change.method = method.trim();
  if (path.trim() !== untouched.path) change.path = path.trim();
  if (tunnel && tunnel !== one.tunnel) change.tunnel = tunnel;
  if (text !== null && content !== untouched.content) change.body = bom + withLineEnds(text, content);
  if (fields === untouched.fields) return change;
  const rows = fields.split("\n").filter((row) => row.trim());
  change.fields = rows.map((row) => {
    const at = row.indexOf(":");
    if (at < 1) throw new Error(`"${row}" is no field; write name: value`);
    return { name: row.slice(0, at).trim(), value: row.slice(at + 1).trim() };
  });
  // It described the body that was recorded.
  if (change.body !== undefined) change.fields = change.fields.filter(({ name }) => name.toLowerCase() !== "content-encoding");
  return change;
}

export async function edit(shown) {
  // What is hidden cannot be sent: secrets come in as they are.
  const one = await askJson(`/api/exchanges/${shown.id}?secrets=true`);
  const found = one.request.body.kept ? await body(one.id, "request") : { bytes: new Uint8Array(), cut: false };
  const text = textOf(found.bytes);
  // The decoder of textOf takes the byte order mark away.
  const bom = [0xef, 0xbb, 0xbf].every((byte, at) => found.bytes[at] === byte) ? "\ufeff" : "";
  const packed = one.request.fields.some((field) => field.name === "content-encoding");
  const { tunnels } = await askJson("/api/status");
  const method = el("input", { value: one.method, "aria-label": "Method", class: "short", spellcheck: "false" });
  const path = el("input", { value: pathOf(one.url), "aria-label": "Path", spellcheck: "false" });
  const fields = el("textarea", { "aria-label": "Fields", rows: 9, spellcheck: "false" });
  fields.value = one.request.fields.map((field) => `${field.name}: ${field.value}`).join("\n");
  const content = el("textarea", { "aria-label": "Body", rows: 10, spellcheck: "false", disabled: text === null });
  content.value = text ?? "";
  const names = [...new Set([one.tunnel, ...tunnels.map((tunnel) => tunnel.name)])];
  const tunnel = names.length > 1 ? el("select", {}, names.map((name) => el("option", { value: name }, name))) : null;
  const untouched = { path: path.value, fields: fields.value, content: content.value };
  const go = async () => {
    await send(one, changeOf(one, [method, path, fields, content, tunnel], untouched, text, bom));
    $("dialog").close();
  };
  dialog(
    "Edit and resend",
    el(
      "form",
      { class: "edit", onsubmit: (event) => event.preventDefault() },
      el("div", { class: "pair" }, method, path),
      tunnel && el("label", {}, "Tunnel", tunnel),
      el("label", {}, "Fields", fields),
      el("label", {}, text === null ? "Body (not text; it is sent as it was)" : "Body", content),
      packed && text !== null ? el("p", { class: "dim" }, "The body is shown unpacked. If you edit it, it is sent so, without Content-Encoding.") : null,
      found.cut ? el("p", { class: "warn" }, "Only the beginning of this body was kept.") : null,
      el("div", { class: "actions" }, button("Send", go, { class: "first", title: "Ctrl+Enter" })),
    ),
  );
  fields.focus();
  $("dialog").onkeydown = doing(async (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) await go();
  });
}

export async function copyCurl(one) {
  const hidden = one.masked && one.request.fields.some((field) => field.value === "********");
  await copy(await curl(one), hidden ? "curl command, without its secrets," : "curl command");
}

export async function differ(one) {
  // The one it repeats, or else the next older one of the same address.
  const all = shownIds().filter((id) => id !== one.id).slice(0, 2000);
  const like = all.filter((id) => line(id).path === one.path && line(id).method === one.method);
  const others = [...like, ...all.filter((id) => !like.includes(id))].slice(0, 500);
  if (!others.length) throw new Error("There is no other exchange to compare with.");
  const first = others.includes(one.resent_of) ? one.resent_of : (like.find((id) => id < one.id) ?? others[0]);
  const room = el("div", { class: "diff" });
  const choose = el("select", { "aria-label": "Compare with", onchange: () => compare(Number(choose.value)) });
  for (const id of others) {
    const other = line(id);
    choose.append(el("option", { value: id, ...(id === first ? { selected: true } : {}) }, `#${id}  ${other.method} ${other.path.slice(0, 60)}  ${other.status ?? other.state}`));
  }
  const compare = doing(async (id) => {
    const other = await askJson(`/api/exchanges/${id}`);
    const [left, right] = await Promise.all([other, await askJson(`/api/exchanges/${one.id}`)].map(lines));
    // Somebody may have chosen another one meanwhile.
    if (Number(choose.value) === id) room.replaceChildren(...difference(left, right));
  });
  dialog(`Answer of #${one.id}`, el("p", {}, "compared with ", choose), room);
  await compare(first);
}

// An answer as lines; JSON laid out, so that a change is a line.
async function lines(one) {
  if (!one.answer) return ["no answer"];
  const head = [`status: ${one.answer && one.status}`, ...one.answer.fields.map((field) => `${field.name}: ${field.value}`), ""];
  if (!one.answer.body.kept) return head;
  const { bytes } = await body(one.id, "answer");
  const text = textOf(bytes);
  if (text === null) return [...head, `${bytes.length} bytes that are no text`];
  try {
    JSON.parse(text);
    return [...head, ...layout.json(text).text.split("\n")];
  } catch {
    return [...head, ...text.split("\n")];
  }
}

// The longest common lines, of so many at most: more would take too long.
const MOST = 3000;

function difference(before, after) {
  const a = before.slice(0, MOST);
  const b = after.slice(0, MOST);
  const rows = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) rows[i][j] = a[i] === b[j] ? rows[i + 1][j + 1] + 1 : Math.max(rows[i + 1][j], rows[i][j + 1]);
  }
  const out = [];
  let same = 0;
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      out.push(el("div", {}, `  ${a[i]}`));
      [i, j, same] = [i + 1, j + 1, same + 1];
    } else if (j >= b.length || (i < a.length && rows[i + 1][j] >= rows[i][j + 1])) out.push(el("div", { class: "minus" }, `− ${a[i++]}`));
    else out.push(el("div", { class: "plus" }, `+ ${b[j++]}`));
  }
  if (same === out.length) out.unshift(el("p", { class: "dim" }, "They are the same."));
  return out;
}

