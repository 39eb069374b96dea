// The filter's words: `/path method:POST status:5xx ms:>100 tunnel:app text:otter field:accept:json`.
// All of them must fit. What a line of the list does not show, the client is asked for.

import { askJson } from "/client.js";

export function parse(text) {
  const filter = { words: [], text: [], field: [] };
  for (const [word] of text.matchAll(/(?:[^\s"]|"[^"]*")+/g)) {
    const plain = word.replaceAll('"', "");
    const at = plain.indexOf(":");
    const name = at > 0 ? plain.slice(0, at).toLowerCase() : "";
    const value = plain.slice(at + 1);
    if (["method", "status", "tunnel", "path", "kind", "is"].includes(name)) filter[name] = value.toLowerCase();
    else if (name === "text") filter.text.push(value);
    else if (name === "field" || name === "header") filter.field.push(value);
    else if (name === "ms" || name === "duration") filter.ms = value;
    else filter.words.push(plain.toLowerCase());
  }
  return filter;
}

export const asksClient = (filter) => filter.text.length + filter.field.length > 0;

// The numbers of those that fit what only the client knows.
export async function found(filter, signal) {
  let fit;
  const questions = [...filter.text.map((value) => ["text", value]), ...filter.field.map((value) => ["field", value])];
  for (const [name, value] of questions) {
    const ids = new Set();
    let before;
    do {
      const query = new URLSearchParams({ [name]: value, limit: "1000", ...(before ? { before } : {}) });
      const page = await askJson(`/api/exchanges?${query}`, { signal });
      for (const line of page.exchanges) ids.add(line.id);
      before = page.next_before;
    } while (before);
    fit = fit ? fit.intersection(ids) : ids;
  }
  return fit;
}

export function fits(line, filter) {
  if (filter.method && line.method.toLowerCase() !== filter.method) return false;
  if (filter.status && !statusFits(line.status, filter.status)) return false;
  if (filter.tunnel && !line.tunnel.includes(filter.tunnel)) return false;
  if (filter.path && !line.path.toLowerCase().includes(filter.path)) return false;
  if (filter.kind && !line.kind.toLowerCase().startsWith(filter.kind)) return false;
  if (filter.is && line.state !== filter.is && line.origin !== filter.is) return false;
  if (filter.ms && !durationFits(line.duration_ms, filter.ms)) return false;
  return filter.words.every((word) => line.url.toLowerCase().includes(word) || line.method.toLowerCase() === word || String(line.status) === word);
}

function statusFits(status, wanted) {
  if (!status) return false;
  return wanted.endsWith("xx") ? String(status)[0] === wanted[0] : String(status).startsWith(wanted);
}

function durationFits(ms, wanted) {
  const [, sign, number] = wanted.match(/^([<>]=?)?([\d.]+)/) || [];
  if (!number || ms === null) return false;
  return sign?.startsWith("<") ? ms <= Number(number) : ms >= Number(number);
}
