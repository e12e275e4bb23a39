// Mathematics in Markdown as LLMs write it: $$…$$ and \[…\] for formulas, $…$ and \(…\) in a line.
// It becomes code of the language "math", which math.js renders. No DOM.

const OPENING = /^ {0,3}(\$\$|\\\[)/;
const CLOSINGS = { $$: "$$", "\\[": "\\]" };
// As in Pandoc: no white space inside of the dollars, and no digit after them ("$5 and $6").
const INLINE = /^(?:\$\$([^$\n]+?)\$\$|\\\((.+?)\\\)|\\\[(.+?)\\\]|\$(?!\s)((?:\\.|[^$\\\n])+?)(?<!\s)\$(?!\d))/;

const escapeHtml = (text) => text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);

// A formula begins and ends a line, and has no blank line in it, as in TeX. What has no end yet is
// one block as well, since its lines are not Markdown: "- b" may be a part of the formula.
function blockAt(source) {
  const opening = OPENING.exec(source);
  if (!opening) return undefined;
  const closing = CLOSINGS[opening[1]];
  let raw = "";
  for (const line of source.match(/[^\n]*\n|[^\n]+/g)) {
    const content = raw ? line : line.slice(opening[0].length);
    if (raw && !line.trim()) break;
    raw += line;
    if (!content.includes(closing)) continue;
    const [text, after] = split(raw.slice(opening[0].length), closing);
    if (!after.trim() && text.trim()) return { type: "mathBlock", raw, text: text.trim(), isClosed: true };
    if (raw === line) return undefined; // a formula in the line of a paragraph
    break;
  }
  return { type: "mathBlock", raw, text: raw, isClosed: false };
}

function split(text, separator) {
  const index = text.indexOf(separator);
  return [text.slice(0, index), text.slice(index + separator.length)];
}

function formulaAt(source) {
  const match = INLINE.exec(source);
  if (!match) return undefined;
  return { type: "mathInline", raw: match[0], text: match.slice(1).find((group) => group !== undefined).trim() };
}

function startOf(pattern) {
  return (source) => {
    const { index } = pattern.exec(source) ?? {};
    return index;
  };
}

export const mathExtensions = [
  {
    name: "mathBlock",
    level: "block",
    start: startOf(/(?<=\n) {0,3}(?:\$\$|\\\[)/),
    tokenizer: blockAt,
    renderer: ({ text, isClosed }) => (isClosed
      ? `<pre><code class="language-math">${escapeHtml(text)}</code></pre>\n`
      : `<p>${escapeHtml(text).replaceAll("\n", "<br>")}</p>\n`),
  },
  {
    name: "mathInline",
    level: "inline",
    start: startOf(/\$|\\[([]/),
    tokenizer: formulaAt,
    renderer: ({ text }) => `<code class="language-math">${escapeHtml(text)}</code>`,
  },
];
