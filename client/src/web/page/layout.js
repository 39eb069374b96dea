// JSON and XML with a line for each part. What comes out has a bound, whatever goes in: deep nesting makes
// white space by the gigabyte.

// Characters that come out, and are looked at, at most.
const MOST = 256 * 1024;
const READ = 4 * MOST;

// Levels beyond which lines begin no further to the right.
const DEEPEST = 40;

const indent = (depth) => "  ".repeat(Math.min(depth, DEEPEST));

// The words of JSON as they came, with numbers of any length and names that come twice. Of what is no JSON,
// something.
export function json(text) {
  const token = /"[^"\\]*(?:\\.[^"\\]*)*"?|[{}[\],:]|[^\s{}[\],:"]+/gs;
  const parts = [];
  let [length, depth, before, cut] = [0, 0, "", text.length > READ];
  for (const [word] of text.slice(0, READ).matchAll(token)) {
    const opened = before === "{" || before === "[";
    const closes = word === "}" || word === "]";
    if (closes) depth = Math.max(0, depth - 1);
    const breaks = closes ? !opened : opened || before === ",";
    const part = (breaks ? `\n${indent(depth)}` : "") + word + (word === ":" ? " " : "");
    if (length + part.length > MOST) {
      parts.push(part.slice(0, MOST - length));
      cut = true;
      break;
    }
    parts.push(part);
    length += part.length;
    if (word === "{" || word === "[") depth += 1;
    before = word;
  }
  return { text: parts.join(""), cut };
}

// An XML document; null for what is none, or too long to be read as one.
export function xml(text) {
  if (text.length > READ) return null;
  const parsed = new DOMParser().parseFromString(text, "application/xml");
  if (parsed.querySelector("parsererror")) return null;
  const lines = [];
  let length = 0;
  const add = (depth, line) => {
    const whole = indent(depth) + line;
    lines.push(whole.slice(0, Math.max(0, MOST - length)));
    length += whole.length + 1;
  };
  // What is still to come, the next one last: nodes, and ends of elements. Calls would nest as deep as the document.
  const rest = [...parsed.childNodes].reverse().map((node) => ({ node, depth: 0 }));
  while (rest.length && length <= MOST) {
    const { node, depth, end } = rest.pop();
    if (end) add(depth, end);
    else if (node.nodeType === Node.COMMENT_NODE) add(depth, `<!--${node.data}-->`);
    else if (node.nodeType === Node.ELEMENT_NODE) {
      const attributes = [...node.attributes].map(({ name, value }) => ` ${name}="${value}"`).join("");
      const inner = [...node.childNodes].filter((child) => child.nodeType !== Node.TEXT_NODE || child.data.trim());
      if (!inner.length) add(depth, `<${node.nodeName}${attributes}/>`);
      else if (inner.length === 1 && inner[0].nodeType === Node.TEXT_NODE) add(depth, `<${node.nodeName}${attributes}>${inner[0].data.trim()}</${node.nodeName}>`);
      else {
        add(depth, `<${node.nodeName}${attributes}>`);
        rest.push({ depth, end: `</${node.nodeName}>` });
        for (const child of inner.reverse()) rest.push({ node: child, depth: depth + 1 });
      }
    } else if (node.data?.trim()) add(depth, node.data.trim());
  }
  return { text: lines.join("\n"), cut: rest.length > 0 || length > MOST };
}
