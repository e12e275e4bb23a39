// Splits a growing Markdown text into chunks: top-level blocks, and parts of long ones. No DOM.
//
// Markdown is read line by line, and only the last top-level block is open for the next line
// (CommonMark, appendix "A parsing strategy"). So every block before the last one of the complete
// lines is final: it is parsed once, and its chunk stays the same object. If the last block is long,
// then its beginning becomes a final chunk as well (split_block.js).

import { parse, setLoose } from "./markdown_syntax.js";
import { splitBlock, withoutStub } from "./split_block.js";

const PAGE_LEVELS = 3; // the headings of the page itself
const DELIMITERS = /^[ |:-]*[|:-][ |:-]*$/; // of a table's header, also those that are not whole yet
const LONG_LINE_CHARS = 600;
const NO_BLOCK = { stub: "", loose: [] };

export class MarkdownBlocks {
  #parsedChars = 0; // in this update, each time counted
  #text = "";
  #isWhole = false; // nothing seems to follow
  #before = null; // if the text is whole: the state without its last block
  #final = []; // chunks
  #end = 0; // of the final chunks in the text
  #block = null; // that the end is in: { start, type, stub, loose }
  #undivided = -1; // where a block begins that cannot be divided
  #depths = []; // of the headings that contain the end
  #targets = {}; // of the reference links that are defined in final chunks
  #changedFrom = 0;

  // Returns the tokens of the text: `chunks`, of which the first `finalCount` stay the same while the
  // text grows. `continues` is true for those that are a part of the same block as the chunk before.
  // `changedFrom`: all chunks before this one are those of the last call. `parsedChars`: how many
  // characters have been parsed.
  update(text, isGrowing = true) {
    this.#parsedChars = 0;
    const lines = text.includes("\r") ? text.replace(/\r\n?/g, "\n") : text;
    if (!lines.startsWith(this.#text)) this.#reset();
    this.#changedFrom = this.#final.length;
    if (this.#isWhole) this.#reopen();
    this.#text = lines;
    const line = lines.lastIndexOf("\n") + 1;
    // What may become the second line of a table says nothing about the lines before it yet.
    const isUndecided = DELIMITERS.test(lines.slice(line)) && line > this.#end;
    const isLong = lines.length - line > LONG_LINE_CHARS; // what it begins is known
    let open = this.#finish(isUndecided ? -1 : line + Number(isLong));
    if (!isGrowing) open = this.#close();
    setLevels(open, [...this.#depths]);
    const [parsedChars, changedFrom] = [this.#parsedChars, this.#changedFrom];
    return { chunks: [...this.#final, ...open], finalCount: this.#final.length, changedFrom, parsedChars };
  }

  #reset() {
    [this.#final, this.#end, this.#block, this.#undivided, this.#depths, this.#targets] = [[], 0, null, -1, [], {}];
    this.#isWhole = false;
  }

  // Makes all final.
  #close() {
    const { length } = this.#final;
    this.#before = { length, end: this.#end, block: this.#block, depths: [...this.#depths], targets: { ...this.#targets } };
    this.#isWhole = true;
    return this.#finish(Infinity);
  }

  // More may follow, after all.
  #reopen() {
    const { length, end, block, depths, targets } = this.#before;
    this.#final.length = length;
    [this.#end, this.#block, this.#depths, this.#targets, this.#isWhole] = [end, block, depths, targets, false];
    this.#changedFrom = length;
  }

  #parse(text, block) {
    const stub = block?.stub ?? "";
    this.#parsedChars += stub.length + text.length;
    const tokens = parse(stub + text, this.#targets, block?.type === "paragraph" ? stub.length : 0);
    tokens.forEach((token, index) => setLoose(token, index === 0 ? block?.loose : []));
    return tokens;
  }

  #parseRest() {
    const tokens = this.#parse(this.#text.slice(this.#end), this.#block);
    if (!this.#block || tokens[0]?.type === this.#block.type) return tokens;
    // Another block begins where the text seemed to continue.
    while (this.#final.pop().continues);
    this.#changedFrom = Math.min(this.#changedFrom, this.#final.length);
    [this.#end, this.#undivided, this.#block] = [this.#block.start, this.#block.start, null];
    return this.#parse(this.#text.slice(this.#end), null);
  }

  // Makes all chunks final that are. complete: where the last complete line ends; -1 if nothing can be
  // said yet. Returns the other chunks.
  #finish(complete) {
    const tokens = this.#parseRest();
    const block = this.#block ?? NO_BLOCK;
    const starts = [this.#end - block.stub.length];
    for (const { raw } of tokens) starts.push(starts.at(-1) + raw.length);
    const isOpen = ({ type }, index) => type !== "space" && (index === 0 || starts[index] < complete);
    const last = this.#isWhole ? tokens.length : Math.max(0, tokens.findLastIndex(isOpen));
    const chunks = tokens.map((token, index) => (index || !this.#block ? token : withoutStub(token, block.stub)));
    if (complete < 0) return chunks;
    if (last > 0) this.#add(chunks.slice(0, last), starts[last]);
    const open = tokens[last];
    const { start, stub } = this.#block ?? { ...NO_BLOCK, start: starts[last] };
    const split = open && start !== this.#undivided && splitBlock(open, complete - starts[last], stub);
    if (!split) return chunks.slice(last);
    const end = starts[last] + split.at;
    const isContinued = this.#block !== null;
    this.#block = { start, type: open.type, stub, loose: split.loose };
    this.#add([this.#makePart(this.#text.slice(this.#end, end), this.#block, isContinued)], end, { ...this.#block, stub: split.stub });
    return this.#finish(complete);
  }

  #makePart(source, block, isContinued) {
    return { ...withoutStub(this.#parse(source, block)[0], block.stub, false), raw: source, continues: isContinued };
  }

  // Adds final chunks. block: that the new end is in.
  #add(chunks, end, block = null) {
    chunks.forEach((chunk, index) => this.#final.push(Object.assign(chunk, { block: index ? null : this.#block })));
    setLevels(chunks, this.#depths);
    [this.#end, this.#block] = [end, block];
    const defined = chunks.filter(({ type, tag }) => type === "def" && !(tag in this.#targets));
    for (const { tag, href, title } of defined) this.#targets[tag] = { href, title };
    if (defined.length) this.#resolve(defined.map(({ tag }) => `[${tag}`));
  }

  // Parses the chunks again that refer to targets which were defined later.
  #resolve(labels) {
    this.#final.forEach((chunk, index) => {
      const raw = chunk.raw.toLowerCase();
      if (["def", "code"].includes(chunk.type) || !labels.some((label) => raw.includes(label))) return;
      const { block, continues, level } = chunk;
      this.#final[index] = { ...this.#makePart(chunk.raw, block ?? NO_BLOCK, continues), block, level, isResolved: true };
      this.#changedFrom = Math.min(this.#changedFrom, index);
    });
  }
}

// No level is left out, whatever the model begins with: a reader may go from heading to heading.
// depths: of the headings that contain the first chunk; afterwards, of those that contain the end.
function setLevels(chunks, depths) {
  for (const heading of chunks.filter(({ type }) => type === "heading")) {
    while (depths.at(-1) >= heading.depth) depths.pop();
    depths.push(heading.depth);
    heading.level = Math.min(6, PAGE_LEVELS + depths.length);
  }
}
