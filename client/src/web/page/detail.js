// One exchange: heads, bodies, messages, where the time went.

import { $, button, clear, clock, el, outcome, size, took } from "/build.js";
import { askJson, download } from "/client.js";
import { cutOff, dump, into, json, pairs, textOf } from "/content.js";
import { copyCurl, differ, edit, resend } from "/again.js";

// Messages that are shown, the newest: each is a row of the document.
const MOST_MESSAGES = 1000;

let secrets = false;
let asked = 0;
let open = null;

export async function show(id, { back, tab = "answer" } = {}) {
  const mine = ++asked;
  const one = await askJson(`/api/exchanges/${id}?secrets=${secrets}`);
  // Somebody has moved on meanwhile.
  if (mine !== asked) return;
  const keep = open?.id === id ? open.tab : tab;
  const unfolded = open?.id === id ? open.unfolded : new Set();
  open = { id, tab: keep, one, back, unfolded };
  render();
}

export function hide() {
  asked += 1;
  open = null;
  clear($("detail"));
}

export const current = () => open?.one ?? null;

export async function toggleSecrets() {
  secrets = !secrets;
  if (open) await show(open.id, open);
}

function render() {
  const { one, back } = open;
  const { text, kind, note } = outcome(one);
  const box = $("detail");
  const scrolled = box.dataset.id === String(one.id) ? box.scrollTop : 0;
  box.dataset.id = one.id;
  const head = el(
    "header",
    { class: "one" },
    el(
      "div",
      { class: "title" },
      button("‹", back, { class: "back quiet", title: "Back to the list (Esc)", "aria-label": "Back" }),
      el("span", { class: `method m-${one.method}` }, one.method),
      el("span", { class: "address" }, one.url),
      el("span", { class: `stat big ${kind}` }, text),
    ),
    el("p", { class: "dim facts" }, facts(one, note)),
    one.reason ? el("p", { class: "warn" }, one.cause ? `${one.cause}: ${one.reason}` : one.reason) : null,
    actions(one),
  );
  const tabs = el("div", { class: "tabs main", role: "tablist" });
  const room = el("div", { class: "panel" });
  const ways = [
    ["answer", "Answer", () => half(one, "answer", one.answer)],
    ["request", "Request", () => half(one, "request", one.request)],
    ...(one.messages ? [["messages", `Messages ${one.messages}`, () => messages(one)]] : []),
    ["timing", "Timing", () => timing(one)],
  ];
  if (one.messages && open.tab === "answer" && one.kind === "websocket") open.tab = "messages";
  const pick = (name) => {
    open.tab = name;
    for (const tab of tabs.children) tab.setAttribute("aria-selected", tab.dataset.tab === name);
    room.replaceChildren((ways.find(([way]) => way === name) ?? ways[0])[2]());
  };
  for (const [name, label] of ways) tabs.append(button(label, () => pick(name), { role: "tab", "data-tab": name }));
  box.replaceChildren(head, tabs, room);
  pick(ways.some(([way]) => way === open.tab) ? open.tab : "answer");
  box.scrollTop = scrolled;
}

function facts(one, note) {
  const origin = one.origin === "resent" ? `${one.edited ? "edited and " : ""}resent from #${one.resent_of}` : one.origin === "imported" ? "imported" : one.visitor && `from ${one.visitor}`;
  return [`#${one.id}`, clock(one.at), took(one.duration_ms), origin, `via ${one.tunnel}`, note].filter(Boolean).join("  ·  ");
}

function actions(one) {
  return el(
    "div",
    { class: "actions" },
    // A conversation is more than a request.
    one.status === 101 ? null : button("Resend", () => resend(one), { title: "Send it to the app once more (r)", class: "first" }),
    one.status === 101 ? null : button("Edit", () => edit(one), { title: "Change it and send it (e)" }),
    button("Copy as curl", () => copyCurl(one), { title: "As a shell command (c)" }),
    button("Compare", () => differ(one), { title: "Compare its answer with another one (d)" }),
    button("HAR", () => download(`/api/har?id=${one.id}${secrets ? "&secrets=true" : ""}`, `ngrnotok-${one.id}.har`), { title: "Save it as a HAR file" }),
    el(
      "label",
      { class: "switch" },
      el("input", { type: "checkbox", ...(secrets ? { checked: true } : {}), onchange: () => toggleSecrets() }),
      "Secrets",
    ),
  );
}

function half(one, part, about) {
  if (!about) {
    const why = one.state === "open" ? "The app has not answered yet." : "The app gave no answer.";
    return el("div", {}, el("p", { class: "dim pad" }, why));
  }
  const room = el("div", {}, el("p", { class: "dim" }, "…"));
  into(room, one.id, part, about).catch((error) => room.replaceChildren(el("p", { class: "warn" }, error.message)));
  const query = part === "request" ? [...new URL(one.url, "http://x").searchParams] : [];
  return el(
    "div",
    {},
    room,
    query.length ? section(`Query ${query.length}`, pairs(query)) : null,
    section(`Fields ${about.fields.length}`, fields(about.fields), el("span", { class: "dim" }, about.version)),
    about.trailers.length ? section(`Trailers ${about.trailers.length}`, fields(about.trailers)) : null,
  );
}

const section = (title, content, side) => el("section", { class: "part" }, el("h2", {}, title, side ? [" ", side] : null), content);

const fields = (list) => pairs(list.map(({ name, value }) => [name, value]));

// From the visitor's side: there, app, back. They add up; what is not known says so.
function timing(one) {
  const { request_ended_ms: sent, answered_ms: answered, ended_ms: ended, round_trip_ms: round, edge_ms: edge } = one.timing;
  const way = round === null ? null : round / 2;
  const end = ended ?? Math.max(sent ?? 0, answered ?? 0);
  const upTo = Math.min(sent ?? answered ?? end, answered ?? end);
  const all = [
    ["edge", "Edge", edge, edge === null ? "the server does not say" : "the server held it"],
    ["link", "Link, there", way, way === null ? "not measured yet" : "half a round trip"],
    ["send", "Request body", upTo, "until the app had all of it"],
    ["wait", "App", answered === null ? end - upTo : answered - upTo, answered === null ? "no answer came" : "until its answer began"],
    ["receive", "Answer body", answered === null ? null : end - answered, ended === null ? "goes on" : "until its end"],
    ["link", "Link, back", way, way === null ? "not measured yet" : "half a round trip"],
  ];
  // What was sent again came neither by the edge nor by the link.
  const steps = one.origin === "resent" ? all.filter(([kind]) => !["edge", "link"].includes(kind)) : all;
  const sum = steps.reduce((before, [, , ms]) => before + (ms ?? 0), 0);
  let at = 0;
  const rows = steps.map(([kind, name, ms, note]) => {
    const bar = el("span", { class: `bar ${kind}`, hidden: ms === null });
    bar.style.marginLeft = `${sum ? (at / sum) * 100 : 0}%`;
    bar.style.width = `${sum ? ((ms ?? 0) / sum) * 100 : 0}%`;
    at += ms ?? 0;
    return el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "num" }, ms === null ? "–" : took(ms)), el("td", { class: "track" }, bar), el("td", { class: "dim" }, note));
  });
  rows.push(el("tr", { class: "sum" }, el("th", { scope: "row" }, "Together"), el("td", { class: "num" }, took(sum)), el("td", {}), el("td", { class: "dim" }, one.origin === "resent" ? "at the app alone" : edge === null ? "without the edge" : "")));
  return el("table", { class: "timing" }, el("tbody", {}, rows));
}

function messages(one) {
  // Those that somebody has opened stay open while others come.
  const { unfolded } = open;
  const older = one.messages_gone + Math.max(0, one.message_list.length - MOST_MESSAGES);
  const rows = one.message_list.slice(-MOST_MESSAGES).map((message, at) => {
    const number = older + at;
    const fromVisitor = message.from === "visitor";
    const label = [message.kind, message.event && message.event !== "message" ? message.event : "", message.code ?? "", message.compressed ? "packed" : ""].filter(Boolean).join(" ");
    const preview = message.text ?? `${message.bytes} bytes`;
    const isOpen = unfolded.has(number);
    const full = el("div", { class: "full", hidden: !isOpen }, isOpen ? inFull(message) : null);
    const line = el(
      "button",
      {
        class: "message",
        "aria-expanded": String(isOpen),
        onclick: () => {
          full.hidden = !full.hidden;
          unfolded[full.hidden ? "delete" : "add"](number);
          line.setAttribute("aria-expanded", String(!full.hidden));
          if (!full.hidden && !full.firstChild) full.append(inFull(message));
        },
      },
      el("span", { class: "dim num" }, took(message.at_ms)),
      el("span", { class: `way ${fromVisitor ? "up" : "down"}`, title: fromVisitor ? "from the visitor" : "from the app" }, fromVisitor ? "↑" : "↓"),
      el("span", { class: "kind" }, label),
      el("span", { class: "preview" }, preview.slice(0, 300).replace(/[\u0000-\u001f]/g, "·")),
      el("span", { class: "dim num" }, size(message.bytes)),
    );
    return [line, full];
  });
  return el("div", { class: "messages" }, older ? el("p", { class: "dim pad" }, `${older} older ones are not shown.`) : null, rows);
}

function inFull(message) {
  const cut = message.kept < message.bytes ? el("p", { class: "dim" }, `the first ${size(message.kept)} of ${size(message.bytes)}`) : null;
  if (message.text !== null) {
    try {
      JSON.parse(message.text);
      return el("div", {}, json(message.text), cut);
    } catch {
      return el("div", {}, cutOff(message.text), cut);
    }
  }
  const bytes = Uint8Array.from(atob(message.base64 ?? ""), (one) => one.charCodeAt(0));
  const text = textOf(bytes);
  return el("div", {}, text === null ? dump(bytes) : cutOff(text, "hex"), cut);
}
