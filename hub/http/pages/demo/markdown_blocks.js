// Splits a growing Markdown text into top-level blocks, each a token of marked. No DOM.
//
// Markdown is read line by line, and only the last top-level block is open for the next line
// (CommonMark, appendix "A parsing strategy"). So every block before the last one of the complete
// lines is final: it is parsed once, and its token stays the same object.

import { Lexer, Marked } from "../vendor/marked.js";
import { mathExtensions } from "./math_syntax.js";

const PAGE_LEVELS = 3; // the headings of the page itself

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
    checkbox({ checked }) {
      return checked ? "☑ " : "☐ ";
    },
  },
});
marked.use({ extensions: mathExtensions });

export class MarkdownBlocks {
  #text = "";
  #end = 0; // of the final blocks in the text
  #final = [];
  #targets = {}; // the targets of reference links so far

  // Returns the tokens of the text. The first `finalCount` of them never change while the text grows.
  // `hasNewTargets`: a link was defined after blocks that may refer to it.
  update(text) {
    const lines = text.replace(/\r\n?/g, "\n");
    if (!lines.startsWith(this.#text)) this.#reset();
    const targetCount = Object.keys(this.#targets).length;
    const complete = lines.lastIndexOf("\n") + 1;
    if (complete > this.#text.lastIndexOf("\n") + 1) this.#finish(lines.slice(this.#end, complete));
    this.#text = lines;
    const open = this.#parse(lines.slice(this.#end));
    const hasNewTargets = this.#final.length > 0 && Object.keys(this.#targets).length > targetCount;
    const blocks = [...this.#final, ...open];
    setLevels(blocks.filter(({ type }) => type === "heading"));
    return { blocks, finalCount: this.#final.length, hasNewTargets };
  }

  #reset() {
    [this.#text, this.#end, this.#final, this.#targets] = ["", 0, [], {}];
  }

  // Makes all blocks of these lines final but the last one.
  #finish(lines) {
    const tokens = this.#parse(lines);
    const last = tokens.findLastIndex(({ type }) => type !== "space");
    for (const token of tokens.slice(0, Math.max(0, last))) {
      this.#final.push(token);
      this.#end += token.raw.length;
    }
  }

  #parse(text) {
    const lexer = new Lexer(marked.defaults);
    Object.assign(lexer.tokens.links, this.#targets);
    const tokens = lexer.lex(text);
    this.#targets = { ...lexer.tokens.links };
    return [...tokens];
  }
}

// No level is left out, whatever the model begins with: a reader may go from heading to heading.
function setLevels(headings) {
  const depths = [];
  for (const heading of headings) {
    while (depths.at(-1) >= heading.depth) depths.pop();
    depths.push(heading.depth);
    heading.level = Math.min(6, PAGE_LEVELS + depths.length);
  }
}

// Returns the HTML of a token. It is not safe: the model may have written HTML.
export function renderToken(token) {
  return marked.parser([token]);
}
