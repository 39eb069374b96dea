// A recorded request as a command for a POSIX shell. Visitors have written it, so whatever is in it, the shell
// reads it as words of curl and printf alone, and the terminal that it is pasted into as letters.

import { ask } from "/client.js";
import { size } from "/build.js";

// Fields that curl makes by itself.
const OWN = new Set(["host", "content-length", "connection", "transfer-encoding", "accept-encoding"]);

// What curl would say of itself where the visitor said nothing.
const NOT_SAID = ["Accept", "User-Agent"];

// A program is handed 128 KiB in one argument at most; what the shell does itself has no such limit.
const LONGEST = 100_000;

// Control characters, which a terminal obeys, and what cannot be seen or turns the direction of text. A new
// line or a tab means something to the line editor of a shell, even between quotes.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/u;

export async function curl(one) {
  const { bytes, kept, ended } = one.request.body;
  if (kept < bytes) throw new Error(`Of this body the first ${size(kept)} of ${size(bytes)} were kept, so a command would send another request. More is kept with --inspect-body.`);
  if (!ended) throw new Error("The body of this request has not come to its end, so a command would send another request.");
  const answer = bytes ? await ask(`/api/exchanges/${one.id}/body?part=request`) : null;
  return command(one, new Uint8Array(await (answer?.arrayBuffer() ?? [])));
}

export function command({ method, url, request: { fields } }, body) {
  const has = (name) => fields.some((field) => field.name === name);
  const args = ["curl"];
  const isHead = method === "HEAD";
  const says = body.length > 0 || has("content-length");
  if (isHead && body.length) throw new Error("curl sends no body with HEAD.");
  if (isHead) args.push("--head");
  else if (method !== "GET" || says) args.push("-X", word(method));
  args.push(word(url));
  // Braces and brackets would be patterns, dots would be resolved.
  if (/[[\]{}]/.test(url)) args.push("--globoff");
  if (/\/(\.|%2e)/i.test(url)) args.push("--path-as-is");
  for (const { name, value } of fields) {
    if (!OWN.has(name)) args.push("-H", word(value === "" ? `${name};` : `${name}: ${value}`));
  }
  for (const name of NOT_SAID) if (!has(name.toLowerCase())) args.push("-H", `${name}:`);
  if (isHead || !says) return args.join(" ");
  if (!has("content-type")) args.push("-H", "Content-Type:");
  const text = textOf(body);
  // With @ in front it would be the name of a file.
  if (text !== null && body.length < LONGEST && !text.startsWith("@") && !UNSEEN.test(text)) return [...args, "--data-binary", word(text)].join(" ");
  return `${printed(text, body)} | ${[...args, "--data-binary", "@-"].join(" ")}`;
}

// A command that prints these bytes.
function printed(text, bytes) {
  if (text !== null && !text.includes("\0")) {
    const quoted = quote(escaped(text, UNSEEN));
    if (quoted.length < 2 * bytes.length + 100) return `printf %b ${quoted}`;
  }
  let packed = "";
  for (let at = 0; at < bytes.length; at += 0x8000) packed += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return `printf %s ${btoa(packed)} | base64 -d`;
}

// A word that a POSIX shell reads as it is, whatever is in it.
export function word(text) {
  if (/^[\w@%+=:,./-]+$/.test(text)) return text;
  if (!UNSEEN.test(text)) return quote(text);
  // Within double quotes a shell may look for more than within single ones.
  return `"$(printf %b '${escaped(text, /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Zl}\p{Zp}'"$\x60!]/u)}')"`;
}

const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// As printf %b takes it: what must not stand there as octal numbers of its bytes.
function escaped(text, which) {
  const short = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };
  const octal = (byte) => `\\0${byte.toString(8).padStart(3, "0")}`;
  const one = (char) => short[char] ?? [...new TextEncoder().encode(char)].map(octal).join("");
  return text.replaceAll("\\", "\\\\").replace(new RegExp(which, "gu"), one);
}

// All of it, also a byte order mark.
function textOf(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}
