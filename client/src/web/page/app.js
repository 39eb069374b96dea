// The page as a whole: what is heard from the client, where we are, and the keys.

import { $, doing, el, size, took, toast } from "/build.js";
import { ask, askJson, download, follow, onSignIn, signIn } from "/client.js";
import * as list from "/list.js";
import * as detail from "/detail.js";
import { copyCurl, dialog, differ, edit, resend } from "/again.js";

let run = null;
let status = null;
let wanted = null;

// ---- what the client says

const heard = {
  status(told) {
    status = told;
    // Another start of the client: its numbers begin anew.
    if (run && run !== status.run) return location.reload();
    run = status.run;
    list.setRecording(status.recorder.on);
    showState();
  },
  exchanges({ changed, oldest, older }) {
    const isGone = (id) => id < oldest && !older.includes(id);
    list.update(changed, oldest, isGone);
    // What is wanted by now, which may not be what is shown yet.
    if (wanted === null) return;
    if (isGone(wanted)) go("#/");
    else if (changed.some((line) => line.id === wanted)) showDetail(wanted);
  },
};

function showLost(error) {
  const state = $("state");
  state.className = "state bad";
  const isUnknown = error?.code === "key_missing";
  state.textContent = isUnknown ? "not let in" : "the client is gone";
  if (isUnknown) needLink();
}

// The client does not know this browser: it is another start of it, or the page was opened without a link.
function needLink() {
  if (document.querySelector(".stranger")) return;
  onSignIn(() => location.reload());
  for (const part of $("main").children) part.hidden = true;
  document.body.className = "on-stranger";
  $("main").append(
    el(
      "section",
      { class: "stranger" },
      el("h1", {}, "This browser is not let in yet"),
      linkRefused ? el("p", { class: "warn" }, linkRefused) : null,
      el("p", {}, "What goes through your tunnels is for you alone, and other users of this machine can open this address, too. A link from the client lets your browser in until the client ends."),
      el("ul", {}, el("li", {}, "Run ", el("code", {}, "ngrnotok status"), " in a terminal and open the link after Inspect."), el("li", {}, "Or press ", el("kbd", {}, "i"), " in the panel of the client.")),
    ),
  );
}

const WORDS = {
  connecting: "connecting",
  online: "online",
  draining: "online, changing its link",
  reconnecting: "offline, reconnecting",
  leaving: "leaving",
  ended: "ended",
};

function showState() {
  const state = $("state");
  state.textContent = WORDS[status.state];
  state.className = `state ${["online", "draining"].includes(status.state) ? "good" : "bad"}`;
  state.title = status.reason ?? "";
  const link = $("public");
  const online = status.tunnels.filter((tunnel) => tunnel.url);
  link.hidden = online.length !== 1;
  if (online.length === 1 && /^https?:/.test(online[0].url)) {
    link.href = online[0].url;
    link.textContent = online[0].url.replace(/^https?:\/\//, "");
  }
  if (location.hash === "#/status") showStatus();
}

// ---- where we are

function go(hash) {
  if (location.hash === hash) route();
  else location.hash = hash;
}

const back = () => go("#/");

const showDetail = doing((id) => detail.show(id, { back }));

function route() {
  // A link that was opened in this tab.
  if (location.hash.startsWith("#once=")) return location.reload();
  if (document.querySelector(".stranger")) return;
  const [, word = ""] = location.hash.match(/^#\/(.*)$/) ?? [];
  const id = /^\d+$/.test(word) ? Number(word) : null;
  const onStatus = word === "status";
  wanted = id;
  document.body.className = onStatus ? "on-status" : id === null ? "on-list" : "on-detail";
  $("status").hidden = !onStatus;
  $("list").hidden = onStatus;
  $("bar").hidden = onStatus;
  $("detail").hidden = id === null;
  $("nav-list").toggleAttribute("aria-current", !onStatus);
  $("nav-status").toggleAttribute("aria-current", onStatus);
  list.choose(id);
  if (id === null) detail.hide();
  else showDetail(id);
  if (onStatus) showStatus();
}

// ---- the status page

async function showStatus() {
  status = await askJson("/api/status").catch(() => status);
  if (!status) return;
  const { tunnels } = await askJson("/api/tunnels").catch(() => ({ tunnels: [] }));
  const { session, recorder } = status;
  const row = (name, ...value) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, ...value));
  const rows = [
    row("Session", `${WORDS[status.state]}${status.reason ? `: ${status.reason}` : ""}`),
    row("Account", session?.account ?? "–"),
    row("Version", `${status.version}${session ? `, server ${session.server_version}` : ""}`),
    ...(session?.region ? [row("Region", session.region)] : []),
    row("Latency", session?.latency_ms ? took(session.latency_ms) : "–"),
    row("Inspector", location.origin),
    ...status.tunnels.map((tunnel) =>
      row("Forwarding", tunnel.url ? [el("a", { href: /^https?:/.test(tunnel.url) ? tunnel.url : null, target: "_blank", rel: "noreferrer" }, tunnel.url), ` → ${tunnel.target}`] : `${tunnel.name}: ${tunnel.refused}`),
    ),
    row("Recorded", recorder.on ? `${list.total()} exchanges, ${size(recorder.bytes)} of ${size(recorder.total_bytes)}; bodies up to ${size(recorder.body_bytes)}` : "off"),
    row("Process", String(status.pid)),
  ];
  const seconds = (nanos) => took(nanos / 1e6);
  const numbers = tunnels.map(({ name, metrics: { http } }) =>
    el("tr", {}, el("th", { scope: "row" }, name), ...[http.count, http.gauge, http.rate1.toFixed(2), http.rate5.toFixed(2), seconds(http.p50), seconds(http.p90)].map((value) => el("td", { class: "num" }, String(value)))),
  );
  const { ttl, opn, rt1, rt5, p50, p90 } = status.connections;
  const all = [ttl, opn, rt1.toFixed(2), rt5.toFixed(2), took(p50 * 1e3), took(p90 * 1e3)];
  const columns = () => ["ttl", "opn", "rt1", "rt5", "p50", "p90"].map((name) => el("th", { class: "num", scope: "col" }, name));
  const table = (name, ...rows) => el("table", { class: "numbers" }, el("thead", {}, el("tr", {}, el("th", {}, name), ...columns())), el("tbody", {}, ...rows));
  $("status").replaceChildren(
    el("table", { class: "facts" }, el("tbody", {}, rows)),
    table("Connections", el("tr", {}, el("th", { scope: "row" }, "all"), ...all.map((value) => el("td", { class: "num" }, String(value))))),
    table("Recorded", ...numbers),
    el("p", { class: "dim" }, "Programs ask the same at ", el("a", { href: "/api/openapi.json" }, "/api"), ", and by ngrnotok status, logs, resend and wait-for-request."),
  );
}

// ---- buttons and keys

function setUp() {
  let typing;
  $("filter").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(doing(() => list.setFilter($("filter").value)), 80);
  });
  $("export").addEventListener("click", doing(exportShown));
  $("import").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", importFile);
  $("clear").addEventListener("click", doing(async () => {
    await ask("/api/exchanges", { method: "DELETE" });
    go("#/");
  }));
  $("help").addEventListener("click", help);
  addEventListener("hashchange", route);
  addEventListener("keydown", onKey);
  for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
  addEventListener("drop", (event) => importArchive(event.dataTransfer?.files[0]));
}

function exportShown() {
  const ids = list.shownIds();
  const all = ids.length === list.total();
  // An address has its limits; so many at once are better taken whole.
  const some = all || ids.length > 1000 ? "" : `?id=${[...ids].reverse().join(",")}`;
  return download(`/api/har${some}`, "ngrnotok.har");
}

async function importFile() {
  const input = $("file");
  await importArchive(input.files[0]);
  input.value = "";
}

const importArchive = doing(async (file) => {
  if (!file) return;
  const { imported, left_out, reasons } = await askJson("/api/har", { method: "POST", body: file });
  const said = `${imported} ${imported === 1 ? "exchange" : "exchanges"} imported`;
  if (!left_out) return toast(said);
  const rows = reasons.map(({ entry, reason }) => el("li", {}, `Entry ${entry}: ${reason}`));
  if (left_out > rows.length) rows.push(el("li", {}, `and ${left_out - rows.length} more`));
  dialog(`${said}, ${left_out} left out`, el("ul", { class: "reasons" }, rows));
});

const KEYS = [
  ["j  k", "next and previous request"],
  ["Enter", "open it"],
  ["Esc", "back"],
  ["/", "filter"],
  ["r", "resend"],
  ["e", "edit and resend"],
  ["c", "copy as curl"],
  ["d", "compare answers"],
  ["s", "show or hide secrets"],
  ["?", "these keys"],
];

function help() {
  const words = [
    ["/orders", "a part of the address"],
    ["method:POST", "the method"],
    ["status:404  status:5xx", "the status, or all of a kind"],
    ["ms:>250", "took at least so long"],
    ["text:otter", "anywhere: fields, bodies, messages"],
    ["field:accept:json", "a field, and a part of its value"],
    ["tunnel:app  kind:websocket  is:open", "the tunnel, what travels, how it stands"],
  ];
  const table = (rows) => el("table", { class: "keys" }, el("tbody", {}, rows.map(([key, text]) => el("tr", {}, el("th", { scope: "row" }, el("kbd", {}, key)), el("td", {}, text)))));
  dialog("Keys", table(KEYS), el("h2", {}, "Words of the filter"), table(words));
}

const onKey = doing(async (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("dialog").open) return;
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) && event.target.type !== "checkbox";
  if (typing) {
    if (event.key === "Escape") event.target.blur();
    else if (event.key === "Enter" && event.target.id === "filter") {
      event.target.blur();
      const first = list.step(1);
      if (first !== null) go(`#/${first}`);
    }
    return;
  }
  const one = detail.current();
  const moves = { j: 1, k: -1, ArrowDown: 1, ArrowUp: -1, PageDown: 20, PageUp: -20 };
  if (event.key in moves) {
    if (event.key.length > 1 && event.target.closest?.("#detail")) return;
    event.preventDefault();
    const next = list.step(moves[event.key]);
    if (next === null) return;
    // With a request open the next one opens; in the list only the mark moves.
    if (document.body.className === "on-detail") go(`#/${next}`);
    else list.choose(next);
    return;
  }
  switch (event.key) {
    case "Enter":
      if (!event.target.closest?.("button, a") && list.chosenId() !== null) go(`#/${list.chosenId()}`);
      break;
    case "Escape":
      go("#/");
      break;
    case "/":
      event.preventDefault();
      $("filter").focus();
      $("filter").select();
      break;
    case "?":
      help();
      break;
    case "s":
      await detail.toggleSecrets();
      break;
    case "r":
    case "e":
    case "c":
    case "d": {
      const id = one?.id ?? list.chosenId();
      if (id === null) return;
      event.preventDefault();
      const meant = one ?? (await askJson(`/api/exchanges/${id}`));
      const act = { r: resend, e: edit, d: differ, c: copyCurl }[event.key];
      await act(meant);
    }
  }
});

const linkRefused = await signIn();
list.start((id) => go(`#/${id}`));
setUp();
route();
follow("/api/events", heard, showLost);
setInterval(() => location.hash === "#/status" && showStatus(), 2000);
