// Where a long block that still grows can be divided into a part that is final and a rest. No DOM.
//
// The rest is parsed behind a stub, the few characters that put the parser into the state that it has
// in the middle of this block: the opening line of code, the header of a table, the markers of the
// items that contain a list, and for a paragraph one letter.

import { segmentsOf } from "./inline_segments.js";

const MIN_CHARS = 600; // of a final part
const MARKER = /^[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+(?=\S)/;
const LETTER = "x";

// token: an open block as parsed, with its stub. complete: how many of its characters are in whole
// lines. Returns where the rest begins, its stub, and which of its lists are loose; null if the block
// cannot be divided yet.
export function splitBlock(token, complete, stub) {
  if (token.raw.length - stub.length < MIN_CHARS) return null;
  const split = SPLITTERS[token.type]?.(token, Math.max(stub.length, Math.min(complete, token.raw.length)), stub);
  return split && split.at - stub.length >= MIN_CHARS ? split : null;
}

// Returns the chunk of a token that was parsed behind a stub. isWhole: whether its last line ends.
export function withoutStub(token, stub, isWhole = true) {
  const chunk = { ...token, raw: token.raw.slice(stub.length), continues: true };
  if (token.type === "paragraph") chunk.text = token.text.slice(stub.length);
  if (token.type === "list" && stub) removeStubItems(chunk, stub.match(/\n/g).length);
  if (token.type === "code") chunk.exact = textOfCode(token, stub, isWhole);
  return chunk;
}

const SPLITTERS = {
  // It can be divided in the middle of a line. Its last lines may still become a table.
  paragraph({ raw, text }, complete, stub) {
    const final = segmentsOf(text.slice(stub.length)).slice(0, -2);
    if (!final.length || !raw.startsWith(text)) return null;
    return { at: stub.length + final.join("").length, stub: LETTER, loose: [] };
  },

  // The last whole line may be the closing fence. A long line is divided before a letter.
  code({ raw }, complete, stub) {
    if (!/^(?:```|~~~)/.test(raw)) return null;
    const opening = stub || raw.slice(0, raw.indexOf("\n") + 1);
    const lastLine = raw.lastIndexOf("\n", complete - 2) + 1;
    if (lastLine - Math.max(stub.length, opening.length) >= MIN_CHARS) return { at: lastLine, stub: opening, loose: [] };
    const end = Math.max(complete, opening.length) + MIN_CHARS;
    const at = opening && raw.length > end + MIN_CHARS ? raw.slice(end, -1).search(/\w/) : -1;
    return at >= 0 ? { at: end + at, stub: opening, loose: [] } : null;
  },

  table({ raw }, complete, stub) {
    const lines = raw.slice(0, complete);
    if (!lines.endsWith("\n") || /\n[ \t]*\n/.test(lines)) return null;
    const header = stub || /^.*\n.*\n/.exec(raw)[0];
    return complete > header.length ? { at: complete, stub: header, loose: [] } : null;
  },

  // The last block in it is open. The rest begins with the mark of the quote.
  blockquote({ raw, tokens }, complete) {
    const last = tokens.findLastIndex(({ type }) => type !== "space");
    const before = tokens[last - 1]?.type;
    const at = lineStart(raw, countLines(tokens.slice(0, Math.max(last, 0))));
    // Formulas and lists may continue where another block seems to begin.
    if (before === "mathBlock" || before === "list") return null;
    return at < complete && /^ {0,3}>/.test(raw.slice(at)) ? { at, stub: "", loose: [] } : null;
  },

  list(token, complete, stub) {
    return splitList(token, { source: token.raw, complete, stub, line: 0, markers: "", outer: [] });
  },
};

// The last item is open. If it is long, then it is divided where it has a list itself.
// line: the number of the list's first line. markers: the lines of the items that contain it.
function splitList({ items, loose: isLoose }, { source, complete, stub, line, markers, outer }) {
  const loose = [...outer, isLoose];
  let open = line;
  let index = 0;
  for (let next = line; index < items.length - 1; index += 1) {
    next += countLines([items[index]]);
    if (lineStart(source, next) >= complete) break;
    open = next;
  }
  const at = lineStart(source, open);
  if (index > 0 && at - stub.length >= MIN_CHARS) return { at, stub: markers, loose };
  const { tokens } = items[index];
  const last = tokens.findLastIndex(({ type }) => type !== "space");
  const marker = MARKER.exec(source.slice(at))?.[0];
  if (tokens[last]?.type !== "list" || last === 0 || !marker) return null;
  const inner = open + countLines(tokens.slice(0, last));
  return splitList(tokens[last], { source, complete, stub, line: inner, outer: loose, markers: `${markers}${marker}${LETTER}\n` });
}

// depth: how many lists inside of each other begin with an item of the stub. They lose its letter.
function removeStubItems(list, depth) {
  list.depth = depth;
  const { tokens, ...item } = list.items[0];
  const inner = tokens.findIndex(({ type }) => type === "list");
  const rest = tokens.slice(inner);
  if (depth > 1) {
    rest[0] = { ...rest[0] };
    removeStubItems(rest[0], depth - 1);
  }
  list.items = [{ ...item, tokens: rest }, ...list.items.slice(1)];
}

// The text behind the stub or the opening line. If its end has been cut off, it is not in a whole line.
function textOfCode({ raw, text }, stub, isWhole) {
  const start = stub.length || raw.indexOf("\n") + 1 || raw.length;
  const isClosed = raw.length - (raw.indexOf("\n") + 1) > text.length + 1;
  const content = raw.slice(start);
  if (isClosed) return text && `${text.replace(/\n$/, "")}\n`;
  return content && isWhole && !content.endsWith("\n") ? `${content}\n` : content;
}

function lineStart(source, line) {
  let at = 0;
  for (let n = 0; n < line; n += 1) {
    at = source.indexOf("\n", at) + 1;
    if (!at) return source.length;
  }
  return at;
}

function countLines(tokens) {
  return tokens.reduce((sum, { raw }) => sum + raw.split("\n").length - 1, 0);
}
