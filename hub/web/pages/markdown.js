// A small, safe part of markdown as elements: paragraphs, headings, ``` blocks, lists, `code` and
// **bold**. Text becomes text nodes and nothing else. While an answer grows, only the blocks that
// changed are made anew, so drawing costs what is new, and a selection above it stays.

const ITEM = /^\s*(?:[-*+]|(\d{1,9})[.)])\s+(.*)$/;
const sources = new WeakMap(); // element → the block it was made from

export function blocksOf(text) {
  const blocks = [];
  let open = null;
  const begin = (block) => blocks.push((open = block));
  for (const line of text.split("\n")) {
    const fence = /^\s*```/.test(line);
    const item = line.match(ITEM);
    const heading = line.match(/^#{1,6}\s+(.*)$/);
    if (open?.tag === "pre" && !fence) open.lines.push(line);
    else if (open?.tag === "pre" || !line.trim()) open = null;
    else if (fence) begin({ tag: "pre", lines: [] });
    else if (heading) {
      begin({ tag: "h4", lines: [heading[1]] });
      open = null;
    } else if (item) {
      const tag = item[1] ? "ol" : "ul";
      if (open?.tag !== tag) begin({ tag, start: Number(item[1] ?? 1), lines: [] });
      open.lines.push(item[2]);
    } else if (open && open.tag !== "p" && /^\s/.test(line)) open.lines.push(`${open.lines.pop()}\n${line.trim()}`);
    else if (open?.tag === "p") open.lines.push(line);
    else begin({ tag: "p", lines: [line] });
  }
  return blocks;
}

export function render(root, text) {
  const blocks = blocksOf(text);
  blocks.forEach((block, at) => {
    const source = JSON.stringify(block);
    const shown = root.children[at];
    if (shown && sources.get(shown) === source) return;
    const made = elementOf(block);
    sources.set(made, source);
    if (shown) shown.replaceWith(made);
    else root.append(made, "\n\n"); // so that what is selected and read out is text with its breaks
  });
  while (root.children.length > blocks.length) {
    root.lastElementChild.nextSibling?.remove();
    root.lastElementChild.remove();
  }
}

function elementOf({ tag, start, lines }) {
  const element = document.createElement(tag);
  if (tag === "ol") element.start = start;
  if (tag === "pre") element.tabIndex = 0; // it may scroll sideways, also by keyboard
  if (tag === "ol" || tag === "ul") for (const line of lines) element.append(inline(document.createElement("li"), line), "\n");
  else if (tag === "pre") element.append(Object.assign(document.createElement("code"), { textContent: lines.join("\n") }));
  else inline(element, lines.join("\n"));
  return element;
}

function inline(element, text) {
  for (const part of text.split(/(`[^`\n]+`|\*\*[^*\n]+\*\*)/)) {
    const tag = /^`.+`$/.test(part) ? "code" : /^\*\*.+\*\*$/.test(part) ? "strong" : null;
    if (!tag) element.append(part);
    else element.append(Object.assign(document.createElement(tag), { textContent: part.slice(tag === "code" ? 1 : 2, tag === "code" ? -1 : -2) }));
  }
  return element;
}
