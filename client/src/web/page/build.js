// Building the document. Everything that was recorded goes in as text, never as HTML.

export function el(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const $ = (id) => document.getElementById(id);

export const clear = (element) => element.replaceChildren();

let hiding;

export function toast(text) {
  const box = $("toast");
  box.textContent = text;
  box.classList.add("on");
  clearTimeout(hiding);
  hiding = setTimeout(() => box.classList.remove("on"), 4000);
}

// Runs what a button does, and says what went wrong.
export const doing = (work) => async (event) => {
  try {
    await work(event);
  } catch (error) {
    toast(error.message);
  }
};

export const button = (text, work, attributes) => el("button", { type: "button", onclick: doing(work), ...attributes }, text);

export async function copy(text, what) {
  await navigator.clipboard.writeText(text);
  toast(`${what} copied`);
}

export function save(bytes, name, type) {
  const address = URL.createObjectURL(new Blob([bytes], { type }));
  const link = el("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

export function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  for (const [unit, one] of [["kB", 1e3], ["MB", 1e6], ["GB", 1e9]]) {
    if (bytes < one * 1000) return `${(bytes / one).toFixed(bytes < one * 10 ? 1 : 0)} ${unit}`;
  }
  return `${(bytes / 1e12).toFixed(1)} TB`;
}

export function took(ms) {
  if (ms === null || ms === undefined) return "";
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(2)} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

export function clock(at) {
  const date = new Date(at);
  const two = (number) => String(number).padStart(2, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

// How an answer is coloured, and what stands in the place of a status.
export function outcome(line) {
  const kind = line.status ? `s${Math.floor(line.status / 100)}` : "";
  switch (line.state) {
    case "open":
      return line.status ? { text: String(line.status), kind, note: "goes on" } : { text: "…", kind: "open", note: "waits for the app" };
    case "trouble":
      return { text: "✕", kind: "s5", note: "no answer" };
    case "broken":
      return { text: line.status ? `${line.status} ✕` : "✕", kind: "s5", note: "broke off" };
    case "visitor_left":
      return { text: line.status ? `${line.status} ⤫` : "⤫", kind: "gone", note: "the visitor left" };
    default:
      return { text: line.status ? String(line.status) : "–", kind };
  }
}
