// Shows a Markdown text that grows. Only the blocks that changed are rendered again, which is mostly
// the last one, so drawing costs what is new, and a selection above it stays.

import { decorateCode } from "./code_blocks.js";
import { MarkdownBlocks, renderToken } from "./markdown_blocks.js";
import { sanitize } from "./sanitize.js";

const DIRECTED = "p, li, h4, h5, h6, blockquote, th, td, summary, div";
const DECORATED = "pre code, code.language-math"; // code that code_blocks.js changes once it is whole

export class MarkdownView {
  #blocks = new MarkdownBlocks();
  #shown = []; // for each block: its source, whether it is final, and its nodes
  #end = null; // the element at the end of a growing text
  renderCount = 0; // how many blocks have been rendered

  constructor(root) {
    this.root = root;
  }

  // text: all of it. isGrowing: whether more may follow.
  update(text, isGrowing = false) {
    const { blocks, finalCount, hasNewTargets } = this.#blocks.update(text);
    blocks.forEach((token, index) => {
      const isFinal = index < finalCount || !isGrowing;
      const shown = this.#shown[index];
      const isCurrent = shown?.raw === token.raw && shown.isFinal === isFinal;
      if (isCurrent && !(hasNewTargets && token.raw.includes("["))) return;
      // A final block looks different only if it has code, which is coloured once it is whole.
      if (shown?.raw === token.raw && !hasNewTargets && !shown.hasCode) shown.isFinal = isFinal;
      else if (!isFinal && (appendCode(shown, token) || appendItems(shown, token))) shown.raw = token.raw;
      else this.#replace(index, token, isFinal);
    });
    for (const { nodes } of this.#shown.splice(blocks.length)) nodes.forEach((node) => node.remove());
    this.#markEnd(isGrowing ? this.root.lastElementChild : null);
  }

  // The end of a growing text has a cursor.
  #markEnd(element) {
    if (this.#end === element) return;
    this.#end?.removeAttribute("data-growing");
    element?.setAttribute("data-growing", "");
    this.#end = element;
  }

  #replace(index, token, isFinal) {
    this.renderCount += 1;
    const before = this.#shown[index];
    const fragment = renderBlock(token, isFinal);
    const code = fragment.querySelector(DECORATED);
    const next = before?.nodes[0] ?? null;
    const nodes = [...fragment.childNodes];
    this.root.insertBefore(fragment, next);
    before?.nodes.forEach((node) => node.remove());
    this.#shown[index] = { raw: token.raw, token, isFinal, hasCode: code !== null, code, nodes };
  }
}

function renderBlock(token, isFinal) {
  const fragment = sanitize(renderToken(token));
  for (const element of fragment.querySelectorAll(DIRECTED)) element.dir = "auto";
  for (const table of fragment.querySelectorAll("table")) wrapTable(table);
  decorateCode(fragment, isFinal);
  // An empty block marks its place; selected and spoken text keeps its breaks.
  fragment.append(fragment.firstElementChild ? "\n\n" : "");
  return fragment;
}

// Code that only grew gets the new text at its end. Returns whether that was so.
function appendCode(shown, token) {
  if (shown?.token.type !== "code" || token.type !== "code" || shown.isFinal || !shown.code.firstChild) return false;
  const [before, after] = [shown.code.textContent.replace(/\n$/, ""), token.text];
  const isSameFence = shown.raw.split("\n", 1)[0] === token.raw.split("\n", 1)[0];
  if (!isSameFence || !after.startsWith(before)) return false;
  shown.code.firstChild.replaceData(before.length, shown.code.textContent.length, `${after.slice(before.length)}\n`);
  return true;
}

// A list that only grew gets its last item again, and the new ones. Returns whether that was so.
function appendItems(shown, token) {
  const before = shown?.token;
  if (before?.type !== "list" || token.type !== "list" || shown.isFinal || shown.hasCode) return false;
  if (before.ordered !== token.ordered || before.start !== token.start || before.loose !== token.loose) return false;
  const kept = before.items.length - 1;
  if (kept < 1 || before.items.slice(0, kept).some(({ raw }, index) => raw !== token.items[index]?.raw)) return false;
  const fragment = renderBlock({ ...token, items: token.items.slice(kept) }, false);
  if (fragment.querySelector(DECORATED)) return false;
  const [list] = shown.nodes;
  while (list.lastChild !== list.children[kept - 1]) list.lastChild.remove();
  list.append(...fragment.firstElementChild.childNodes);
  shown.token = token;
  return true;
}

function wrapTable(table) {
  const box = document.createElement("div");
  box.className = "table";
  box.tabIndex = 0; // it can scroll sideways by keyboard
  box.setAttribute("role", "group");
  box.ariaLabel = "Table";
  table.replaceWith(box);
  box.append(table);
}
