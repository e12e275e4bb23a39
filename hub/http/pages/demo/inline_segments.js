// Divides the text of one paragraph, so that a long one is not read anew with each word. No DOM.
//
// Rule: where a text is divided depends only on what stands before, so that a text that grows is
// divided like the whole one.

const MIN_CHARS = 600;
const MAX_CHARS = 2000; // a mark that is still open behind so many characters stays open for good
const MARKS = /\\[^]|<\/?[a-z][^<>\n]*>|`+|\*+|_+|~+|\$+|[[\]<)]|\n|\s|[、。，；：！？]/giu;
const CLOSINGS = { "\\)": "\\(", "\\]": "\\[", "]": "[", ")": "(" };
const VOID = /^<(?:br|hr|img|input|wbr)\b/i;

// Returns the segments of the text. All but the last stay the same while the text grows.
export function segmentsOf(text) {
  const segments = [];
  let start = 0;
  for (let end = endOf(text, 0); end > 0; end = endOf(text, start)) {
    segments.push(text.slice(start, end));
    start = end;
  }
  return [...segments, text.slice(start)];
}

// Returns where the segment that begins at `start` ends: between words, outside of all marks. 0: the
// text has no such place yet.
function endOf(text, start) {
  if (text.length - start <= MIN_CHARS) return 0;
  const open = new Map(); // mark → how many of it are open
  let lastSpace = 0;
  MARKS.lastIndex = start;
  for (let match = MARKS.exec(text); match && match.index < start + MAX_CHARS; match = MARKS.exec(text)) {
    const { 0: mark, index } = match;
    if (mark === "\n") open.delete("$"); // a formula in a line ends with it
    const isSpace = /\s/.test(mark);
    const end = isSpace ? index : index + 1;
    if (isSpace && /\s/.test(text[index - 1])) continue; // a division is before all white space
    if (!/^[\s、。，；：！？]$/u.test(mark)) note(open, mark, text[index - 1] ?? " ", text[index + mark.length] ?? " ");
    else if (end > start) lastSpace = end;
    if (lastSpace === end && end - start >= MIN_CHARS && end < text.length && !open.size) return end;
  }
  if (text.length - start <= MAX_CHARS) return 0;
  const isPair = /[\uD800-\uDBFF]/.test(text[start + MAX_CHARS - 1]);
  return lastSpace || start + MAX_CHARS - (isPair ? 1 : 0);
}

// Notes in `open` that a mark opens or closes something.
function note(open, mark, before, after) {
  const ticks = [...open.keys()].find((each) => each[0] === "`");
  if (ticks && ticks !== mark) return; // nothing else counts in code
  if (/^[*_~]/.test(mark) && /\s/.test(before) && /\s/.test(after)) return; // 2 * 3
  if (mark[0] === "_" && /\w/.test(before) && /\w/.test(after)) return; // snake_case
  if (mark === "]" && after === "(") change(open, "(", 1); // the address of a link
  if (mark in CLOSINGS) change(open, CLOSINGS[mark], -1);
  else if (mark === "[" || mark === "\\(" || mark === "\\[") change(open, mark, 1);
  else if (mark[0] === "<" && mark.length > 1) {
    if (!VOID.test(mark)) change(open, "<>", mark[1] === "/" ? -1 : 1);
  } else if (!/^[\\<]/.test(mark)) change(open, mark[0] === "$" ? "$" : mark, open.has(mark[0] === "$" ? "$" : mark) ? -1 : 1);
}

function change(open, mark, by) {
  const count = (open.get(mark) ?? 0) + by;
  if (count > 0) open.set(mark, count);
  else open.delete(mark);
}
