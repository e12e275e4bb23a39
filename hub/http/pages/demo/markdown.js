// Renders a small, safe subset of markdown as elements: paragraphs, headings, ``` blocks, lists,
// `code` and **bold**. Text becomes text nodes only. While an answer grows, only the blocks that
// changed are rendered again, so drawing costs what is new, and a selection above it stays.

const ITEM = /^\s*(?:[-*+]|(\d{1,9})[.)])\s+(.*)$/;
const sources = new WeakMap(); // element → the JSON of its block

export function parseBlocks(text) {
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
    else if (heading) open = void blocks.push({ tag: "h4", lines: [heading[1]] });
    else if (item) {
      const tag = item[1] ? "ol" : "ul";
      if (open?.tag !== tag) begin({ tag, start: Number(item[1] ?? 1), lines: [] });
      open.lines.push(item[2]);
    } else if (open?.tag === "p") open.lines.push(line);
    else if (open && /^\s/.test(line)) open.lines.push(`${open.lines.pop()}\n${line.trim()}`);
    else begin({ tag: "p", lines: [line] });
  }
  return blocks;
}

export function render(root, text) {
  const blocks = parseBlocks(text);
  blocks.forEach((block, index) => {
    const source = JSON.stringify(block);
    const current = root.children[index];
    if (current && sources.get(current) === source) return;
    const element = renderBlock(block);
    sources.set(element, source);
    if (current) current.replaceWith(element);
    else root.append(element, "\n\n"); // selected and spoken text keeps its breaks
  });
  while (root.children.length > blocks.length) {
    root.lastElementChild.nextSibling?.remove();
    root.lastElementChild.remove();
  }
}

function renderBlock({ tag, start, lines }) {
  const element = document.createElement(tag);
  if (tag === "pre") {
    element.tabIndex = 0; // it can scroll sideways by keyboard
    element.append(textElement("code", lines.join("\n")));
  } else if (tag === "ol" || tag === "ul") {
    if (tag === "ol") element.start = start;
    for (const line of lines) element.append(renderInline(document.createElement("li"), line), "\n");
  } else renderInline(element, lines.join("\n"));
  return element;
}

function renderInline(element, text) {
  for (const part of text.split(/(`[^`\n]+`|\*\*[^*\n]+\*\*)/)) {
    if (/^`.+`$/.test(part)) element.append(textElement("code", part.slice(1, -1)));
    else if (/^\*\*.+\*\*$/.test(part)) element.append(textElement("strong", part.slice(2, -2)));
    else element.append(part);
  }
  return element;
}

function textElement(tag, text) {
  return Object.assign(document.createElement(tag), { textContent: text });
}
