// The elements of the chunks of a Markdown text (markdown_blocks.js).

import { frameCode } from "./code_blocks.js";
import { appendRows, takeLaterRows } from "./long_tables.js";
import { renderChunk } from "./markdown_syntax.js";
import { sanitize } from "./sanitize.js";

const DIRECTED = "p, li, h4, h5, h6, blockquote, th, td, summary, div";

// Inserts the first chunk of a block into its group, and returns its nodes.
export function insertChunk(group, chunk, next) {
  const fragment = renderFragment(chunk);
  const laterRows = chunk.type === "table" ? takeLaterRows(fragment.querySelector("table")) : [];
  for (const table of fragment.querySelectorAll("table")) wrapTable(table);
  frameCode(fragment);
  // An empty block marks its place; selected and spoken text keeps its breaks.
  fragment.append(fragment.firstElementChild ? "\n\n" : "");
  const nodes = [...fragment.childNodes];
  group.insertBefore(fragment, next);
  if (laterRows.length) appendRows(nodes[0], laterRows);
  return nodes;
}

// Appends a later chunk to its block, and returns its nodes.
export function appendChunk(block, chunk) {
  if (chunk.type === "code") return moveTo(block.querySelector("code"), [document.createTextNode(chunk.exact)]);
  const fragment = renderFragment(chunk);
  frameCode(fragment);
  if (chunk.type === "paragraph") return moveTo(block, [...fragment.childNodes]);
  if (chunk.type === "table") return moveRows(block, [...fragment.querySelectorAll("tbody > tr")]);
  return appendItems(block, fragment.firstElementChild, chunk.depth ?? 0);
}

function renderFragment(chunk) {
  const fragment = sanitize(renderChunk(chunk));
  for (const element of fragment.querySelectorAll(DIRECTED)) element.dir = "auto";
  return fragment;
}

// Appends the children of a list or quote. depth: how many lists, one in the other, continue at their
// beginning.
function appendItems(list, added, depth) {
  added.firstChild.remove(); // a line break
  if (!depth) return moveTo(list, [...added.childNodes]);
  const [item, addedItem] = [list.lastElementChild, added.firstElementChild];
  const inner = addedItem.firstElementChild;
  const nodes = appendItems(item.lastElementChild, inner, depth - 1);
  const others = (parent, first) => [...parent.childNodes].filter((node) => node !== first && (node.localName || node.data.trim()));
  return [...nodes, ...moveTo(item, others(addedItem, inner)), ...moveTo(list, others(added, addedItem))];
}

function moveRows(box, rows) {
  appendRows(box, rows);
  return rows;
}

function moveTo(parent, nodes) {
  parent.append(...nodes);
  return nodes;
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
