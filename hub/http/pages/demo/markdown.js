// Shows a Markdown text that grows. Only the chunks that changed are rendered again, which is mostly
// the last one, so drawing costs what is new, and a selection above it stays.

import { finishCode } from "./code_blocks.js";
import { MarkdownBlocks } from "./markdown_blocks.js";
import { appendChunk, insertChunk } from "./markdown_elements.js";

const GROUP_BLOCKS = 16; // the browser does nothing for groups out of view (answer.css)
const CONTAINED = "ol, ul, li, p, blockquote, .code, pre, pre > code"; // what the end of a block can be in

export class MarkdownView {
  #blocks = new MarkdownBlocks();
  #shown = []; // for each chunk: { chunk, nodes, block: its first element, number: how many blocks there are up to it, isFinished }
  #end = null; // the element at the end of a growing text
  #text = "";
  #isReleased = false;
  renderCount = 0; // how many chunks have been rendered
  renderedChars = 0; // and how many characters they had
  parsedChars = 0; // how many characters have been parsed, each time counted

  constructor(root) {
    this.root = root;
  }

  // text: all of it. isGrowing: whether more may follow.
  update(text, isGrowing = false) {
    if (this.#isReleased && text === this.#text) return;
    if (this.#isReleased) this.root.replaceChildren();
    [this.#text, this.#isReleased] = [text, false];
    const { chunks, finalCount, changedFrom, parsedChars } = this.#blocks.update(text, isGrowing);
    this.parsedChars += parsedChars;
    for (let index = changedFrom; index < chunks.length; index += 1) {
      this.#show(index, chunks[index]);
      if (index < finalCount) this.#finish(this.#shown[index], chunks[index + 1]);
    }
    removeNodes(this.#shown.splice(chunks.length));
    while (this.root.lastChild?.hasChildNodes() === false) this.root.lastChild.remove();
    this.#markEnd(isGrowing ? this.root.lastElementChild?.lastElementChild : null);
  }

  // Keeps nothing but the text and its elements: it does not grow any more.
  release() {
    [this.#blocks, this.#shown, this.#isReleased] = [new MarkdownBlocks(), [], true];
  }

  #show(index, chunk) {
    const shown = this.#shown[index];
    if (shown && isSame(shown.chunk, chunk)) {
      shown.chunk = chunk;
      return;
    }
    this.renderCount += 1;
    this.renderedChars += chunk.raw.length;
    this.#remove(index);
    const before = this.#shown[index - 1];
    const block = chunk.continues ? before.block : null;
    const number = (before?.number ?? 0) + Number(!block && chunk.type !== "space");
    const nodes = block ? appendChunk(block, chunk) : this.#insert(index, chunk, Math.floor(number / GROUP_BLOCKS));
    this.#shown[index] = { chunk, nodes, block: block ?? nodes[0], number, isFinished: false };
  }

  #insert(index, chunk, groupIndex) {
    const group = this.root.children[groupIndex] ?? this.root.appendChild(document.createElement("div"));
    const next = this.#shown.slice(index + 1).find(({ nodes }) => nodes[0]?.parentNode === group)?.nodes[0];
    return insertChunk(group, chunk, next ?? null);
  }

  // Removes a chunk and those behind it in its block, which will be shown again.
  #remove(index) {
    if (!this.#shown[index]) return;
    let end = index + 1;
    while (this.#shown[end]?.chunk?.continues) end += 1;
    removeNodes(this.#shown.slice(index, end));
    for (let each = index; each < end; each += 1) this.#shown[each] = { ...this.#shown[each], chunk: null, nodes: [] };
  }

  // Colours final code and draws its formulas, before anything follows in its block. A block of code is
  // coloured as a whole, at its end.
  #finish(shown, next) {
    const { chunk, nodes, block } = shown;
    if (shown.isFinished || (chunk.type === "code" && next?.continues)) return;
    shown.isFinished = true;
    for (const node of chunk.type === "code" ? [block] : nodes) if (node.localName) finishCode(node);
    shown.nodes = nodes.map((node) => node.parentElement?.closest(".math") ?? node);
  }

  // The end of a growing text has a cursor.
  #markEnd(last) {
    const element = endOf(last);
    if (this.#end === element) return;
    this.#end?.removeAttribute("data-growing");
    element?.setAttribute("data-growing", "");
    this.#end = element;
  }
}

// The last node first: when an element is removed, a browser restyles what follows it, and it may restyle
// all children of the parent.
function removeNodes(shown) {
  for (const node of shown.flatMap(({ nodes }) => nodes).reverse()) node.remove();
}

// One element has the cursor. A selector for what is in the block would give it to all code of a table.
function endOf(block) {
  const last = block?.lastElementChild;
  return last?.matches(CONTAINED) ? endOf(last) : block;
}

function isSame(before, chunk) {
  if (before === chunk) return true;
  if (!before || chunk.isResolved) return false;
  return before.raw === chunk.raw && before.type === chunk.type && before.continues === chunk.continues;
}
