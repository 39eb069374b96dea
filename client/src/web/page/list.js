// The list: only the rows that are seen are in the document, however many there are.

import { $, clear, clock, el, outcome, size, took } from "/build.js";
import { asksClient, fits, found, parse } from "/filter.js";

const HEIGHT = 28;

const lines = new Map(); // by number, all that are kept
let shown = []; // numbers of those that pass the filter, newest first
let filter = parse("");
let foundIds = null;
let chosen = null;
let drawing = false;
let recording = true;
let onOpen = () => {};

export const line = (id) => lines.get(id);
export const chosenId = () => chosen;
export const shownIds = () => shown;
export const total = () => lines.size;

export function start(open) {
  onOpen = open;
  $("scroll").addEventListener("scroll", draw, { passive: true });
  $("rows").addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    if (row) onOpen(Number(row.dataset.id));
  });
  new ResizeObserver(draw).observe($("scroll"));
}

// What the client says is new.
export function update(changed, oldest, isGone) {
  let gone = false;
  for (const id of lines.keys()) {
    if (id >= oldest) break;
    if (isGone(id)) gone = lines.delete(id);
  }
  if (gone) shown = shown.filter((id) => !isGone(id));
  const fresh = [];
  for (const one of changed) {
    const known = lines.has(one.id);
    lines.set(one.id, one);
    const passes = fits(one, filter);
    if (asksClient(filter)) refind();
    else if (!known && passes) fresh.push(one.id);
    else if (known && passes !== has(one.id)) reshow();
  }
  if (fresh.length) {
    const scroll = $("scroll");
    // Whoever has scrolled down reads there: new rows on top must not move what is read.
    if (scroll.scrollTop > HEIGHT / 2) scroll.scrollTop += fresh.length * HEIGHT;
    shown = [...fresh.reverse(), ...shown];
    if (shown.length > 1 && shown[fresh.length - 1] < shown[fresh.length]) shown.sort((a, b) => b - a);
  }
  draw();
}

// Whether anything comes here at all.
export function setRecording(on) {
  recording = on;
  draw();
}

const has = (id) => shown[place(id)] === id;

function place(id) {
  let low = 0;
  let high = shown.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (shown[middle] > id) low = middle + 1;
    else high = middle;
  }
  return low;
}

export async function setFilter(text) {
  filter = parse(text);
  foundIds = null;
  search.abort();
  if (asksClient(filter)) await find();
  reshow();
  $("scroll").scrollTop = 0;
  draw();
}

let search = new AbortController();

// What nobody waits for any more is not searched to its end.
async function find() {
  search.abort();
  const { signal } = (search = new AbortController());
  const ids = await found(filter, signal).catch((error) => {
    if (!signal.aborted) throw error;
  });
  if (!signal.aborted) foundIds = ids;
}

let refinding = false;

// While a search stands, what is new has to be searched, too.
function refind() {
  if (refinding) return;
  refinding = true;
  setTimeout(async () => {
    refinding = false;
    await find().catch(() => {});
    reshow();
    draw();
  }, 300);
}

function reshow() {
  shown = [];
  for (const one of lines.values()) {
    if (fits(one, filter) && (!asksClient(filter) || foundIds?.has(one.id))) shown.push(one.id);
  }
  shown.sort((a, b) => b - a);
}

export function choose(id) {
  chosen = id;
  const at = place(id);
  if (id !== null && shown[at] === id) {
    const scroll = $("scroll");
    if (at * HEIGHT < scroll.scrollTop) scroll.scrollTop = at * HEIGHT;
    const below = (at + 2) * HEIGHT - scroll.clientHeight;
    if (below > scroll.scrollTop) scroll.scrollTop = below;
  }
  draw();
}

// The one so many rows further down.
export function step(by) {
  if (!shown.length) return null;
  const at = chosen === null ? (by > 0 ? -1 : 0) : place(chosen) - (by > 0 && !has(chosen) ? 1 : 0);
  return shown[Math.max(0, Math.min(shown.length - 1, at + by))];
}

function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    render();
  });
}

function render() {
  const scroll = $("scroll");
  const first = Math.max(0, Math.floor(scroll.scrollTop / HEIGHT) - 4);
  const last = Math.min(shown.length, Math.ceil((scroll.scrollTop + scroll.clientHeight) / HEIGHT) + 4);
  $("space").style.height = `${shown.length * HEIGHT}px`;
  const rows = $("rows");
  rows.style.transform = `translateY(${first * HEIGHT}px)`;
  rows.replaceChildren(...shown.slice(first, last).map(row));
  $("count").textContent = shown.length === lines.size ? `${lines.size}` : `${shown.length} of ${lines.size}`;
  const empty = $("empty");
  empty.hidden = shown.length > 0;
  if (!shown.length) {
    clear(empty);
    empty.append(
      lines.size
        ? el("p", {}, "No request fits the filter.")
        : !recording
          ? el("p", {}, el("b", {}, "Nothing is recorded."), " Start the client without --inspect off to see requests here.")
          : el("p", {}, el("b", {}, "No requests yet."), " They appear here as they come. Open the public address above, or send one from anywhere."),
    );
  }
}

function row(id) {
  const one = lines.get(id);
  const { text, kind, note } = outcome(one);
  const marks = [];
  if (one.kind !== "plain") marks.push(el("i", { class: "mark" }, one.kind === "websocket" ? "ws" : one.kind === "events" ? "sse" : one.kind));
  if (one.origin === "resent") marks.push(el("i", { class: "mark" }, one.edited ? "edited" : "resent"));
  if (one.origin === "imported") marks.push(el("i", { class: "mark" }, "har"));
  return el(
    "div",
    { class: `row${id === chosen ? " on" : ""}`, role: "option", "aria-selected": id === chosen, "data-id": id, title: note },
    el("span", { class: "dim time" }, clock(one.at)),
    el("span", { class: `method m-${one.method}` }, one.method),
    el("span", { class: "path" }, el("bdi", {}, one.path), ...marks),
    el("span", { class: `stat ${kind}` }, text),
    el("span", { class: "num" }, one.state === "open" ? "" : took(one.duration_ms)),
    el("span", { class: "num dim" }, one.messages ? `${one.messages} msg` : size(one.answer_bytes)),
    el("span", { class: "dim tunnel" }, one.tunnel),
  );
}
