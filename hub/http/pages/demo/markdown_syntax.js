// The Markdown of answers, as marked reads and renders it. No DOM.

import { Lexer, Marked } from "../vendor/marked.js";
import { segmentsOf } from "./inline_segments.js";
import { mathExtensions } from "./math_syntax.js";

const BLANK_LINE = /\n[ \t]*\n[ \t]*$/;
const TEXTS = new Set(["text", "paragraph"]);

const escapeHtml = (text) => text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);

const marked = new Marked({
  gfm: true,
  breaks: true, // LLMs write one line break where they mean one
  // A line of dashes below a text is a rule, not the mark of a heading: LLMs write "#" for headings.
  tokenizer: { lheading: () => undefined },
  renderer: {
    heading({ tokens, level }) {
      const text = this.parser.parseInline(tokens);
      return level ? `<h${level}>${text}</h${level}>\n` : `<p><strong>${text}</strong></p>\n`; // in a list or quote
    },
    // A picture would send a request to an address that the model chose.
    image({ href, text }) {
      return `<a href="${escapeHtml(href)}">${escapeHtml(text || href)}</a>`;
    },
    code({ text, lang, exact }) {
      const language = /^\S*/.exec(lang ?? "")[0];
      const className = language ? ` class="language-${escapeHtml(language)}"` : "";
      return `<pre><code${className}>${escapeHtml(exact ?? `${text.replace(/\n$/, "")}\n`)}</code></pre>\n`;
    },
    checkbox({ checked }) {
      return checked ? "☑ " : "☐ ";
    },
  },
});
marked.use({ extensions: mathExtensions });

// Returns the tokens of a text. targets: those of reference links. skipped: the number of characters
// at the beginning of the first paragraph that are not of the text.
export function parse(text, targets, skipped = 0) {
  const lexer = new Lexer(marked.defaults);
  Object.assign(lexer.tokens.links, targets);
  lexer.blockTokens(text, lexer.tokens);
  const queue = lexer.inlineQueue;
  if (skipped && queue[0]?.tokens === lexer.tokens[0]?.tokens) queue[0].src = queue[0].src.slice(skipped);
  for (let n = 0; n < queue.length; n += 1) { // extensions may add to it
    for (const segment of segmentsOf(queue[n].src)) lexer.inlineTokens(segment, queue[n].tokens);
  }
  return [...lexer.tokens];
}

// Sets which lists are loose, that is with space between their items: those with a blank line behind
// the first item. In CommonMark any blank line does this, so that the last item of a list that grows
// would change all that are shown. Likewise, what follows later in an item leaves its beginning alone.
// loose: for the list and those at its beginning, if that is known from earlier chunks.
export function setLoose(token, loose = []) {
  if (token.type === "blockquote") token.tokens.forEach((child) => setLoose(child));
  if (token.type !== "list") return;
  token.loose = loose[0] ?? Boolean(token.items[1] && BLANK_LINE.test(token.items[0].raw));
  token.items.forEach((item, index) => {
    if (token.loose && item.tokens[0]?.type === "checkbox") item.tokens[1].tokens.unshift(item.tokens.shift());
    const first = item.tokens.findIndex(({ type }) => TEXTS.has(type));
    const isLoose = token.loose || item.tokens[first + 1]?.type === "space";
    item.tokens.forEach((child, position) => {
      if (TEXTS.has(child.type)) child.type = position > first || isLoose ? "paragraph" : "text";
      setLoose(child, index === 0 ? loose.slice(1) : []);
    });
  });
}

// Returns the HTML of a chunk. It is not safe: the model may have written HTML.
export function renderChunk(chunk) {
  const isInline = chunk.type === "paragraph" && chunk.continues;
  return isInline ? marked.Parser.parseInline(chunk.tokens, marked.defaults) : marked.parser([chunk]);
}
