// Tests how the demo page splits Markdown into blocks while it grows. No DOM is needed.
import assert from "node:assert/strict";
import { test } from "node:test";

import { segmentsOf } from "../../hub/http/pages/demo/inline_segments.js";
import { MarkdownBlocks } from "../../hub/http/pages/demo/markdown_blocks.js";
import { renderChunk } from "../../hub/http/pages/demo/markdown_syntax.js";

const LINES = [
  "", "", "# Title", "#tag", "text", "more text", "- a", "- b", "  - nested", "1. one", "2) two", "> quote", "lazy",
  "***", "---", "===", "```js", "```", "~~~", "    indented", "| a | b |", "|---|---|", "| 1 | 2 |", "<div>", "</div>",
  "<!-- note", "-->", "[x]: https://a.example", "see [x]", "$$", "x^2", "\\[", "\\]", "- [ ] todo", "**bold", "* * *",
  "第一行", "مرحبا", "\ttab", "-", "1.", "<details>", "a\\", "+ c", "trailing  ", "`code", "![p](https://a.example/p.png)",
];

// A small generator with a seed: the same documents in every run.
function documents(count) {
  let state = 26;
  const next = (limit) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % limit;
  };
  return Array.from({ length: count }, () => {
    const text = Array.from({ length: 2 + next(12) }, () => LINES[next(LINES.length)]).join("\n");
    const cuts = Array.from({ length: 1 + next(8) }, () => next(text.length + 1)).sort((a, b) => a - b);
    return { text, cuts: [...cuts, text.length] };
  });
}

const sourcesOf = ({ chunks }) => chunks.map(({ type, raw }) => [type, raw]);

test("a text that grows in any steps has the same blocks as the whole text", () => {
  for (const { text, cuts } of documents(800)) {
    const growing = new MarkdownBlocks();
    for (const cut of cuts) {
      const now = growing.update(text.slice(0, cut));
      const whole = new MarkdownBlocks().update(text.slice(0, cut), false);
      assert.deepEqual(sourcesOf(now), sourcesOf(whole), JSON.stringify(text.slice(0, cut)));
    }
  }
});

test("a final block stays the same object, and only the last lines are parsed again", () => {
  const paragraphs = Array.from({ length: 500 }, (_, number) => `Paragraph ${number} of a long answer.`);
  const text = paragraphs.join("\n\n");
  const growing = new MarkdownBlocks();
  let before = [];
  for (let end = 0; end < text.length; end += 20) {
    const { chunks, finalCount, changedFrom } = growing.update(text.slice(0, end));
    assert.ok(chunks.length - finalCount <= 3);
    assert.equal(changedFrom, before.length);
    before.forEach((chunk, index) => assert.equal(chunks[index], chunk));
    before = chunks.slice(0, finalCount);
  }
});

test("a text that seemed to be whole grows, and nothing but its last block changes", () => {
  const text = Array.from({ length: 40 }, (_, number) => `- item ${number} of a list\n\nParagraph ${number}.\n\n`).join("");
  const growing = new MarkdownBlocks();
  let before = [];
  for (let end = 7; end < text.length; end += 7) {
    const { chunks, changedFrom } = growing.update(text.slice(0, end), end % 2 === 0);
    assert.ok(before.length - changedFrom <= 6, `${before.length} ${changedFrom}`);
    before.slice(0, changedFrom).forEach((chunk, index) => assert.equal(chunks[index], chunk));
    before = chunks;
  }
  assert.deepEqual(sourcesOf(growing.update(text, false)), sourcesOf(new MarkdownBlocks().update(text, false)));
});

test("a text that is another one begins anew", () => {
  const growing = new MarkdownBlocks();
  growing.update("# One\n\ntwo\n\nthree\n");
  assert.deepEqual(sourcesOf(growing.update("other")), [["paragraph", "other"]]);
});

test("a link gets a target that is defined later, in a later block or behind a part of its own", () => {
  const text = `see [x]\n\n${"a [y] and more words ".repeat(200)}\n\n[x]: https://a.example\n\n[y]: https://b.example\n\nend`;
  const growing = new MarkdownBlocks();
  const changes = new Set();
  for (let end = 1; end <= text.length; end += 1) {
    const { chunks, changedFrom, finalCount } = growing.update(text.slice(0, end));
    if (changedFrom === 0 && finalCount > 0) changes.add(chunks[0]);
  }
  const { chunks } = growing.update(text, false);
  const anchors = chunks.map(renderChunk).join("").match(/href="[^"]+"/g);
  assert.equal(anchors.filter((anchor) => anchor === 'href="https://a.example"').length, 1);
  assert.equal(anchors.filter((anchor) => anchor === 'href="https://b.example"').length, 200);
  assert.equal(changes.size, 2, "a definition is used when it is whole");
});

const html = (text) => new MarkdownBlocks().update(text, false).chunks.map(renderChunk).join("");

test("a paragraph is divided where no mark is open, and a text that grows like the whole one", () => {
  const sentences = "one *two* **three _four_ five** `six ** seven` [eight nine](https://a.example/x \"ten\") $x + y$ 2 * 3 snake_case_name <b>eleven twelve</b> ";
  for (const text of [sentences.repeat(40), "很长的中文文本，没有空格，**粗体**，继续写下去；".repeat(80), "line\n".repeat(500)]) {
    const segments = segmentsOf(text);
    assert.equal(segments.join(""), text);
    assert.ok(segments.every((segment) => segment.length < 900));
    assert.ok(segments.length > 2);
    assert.equal(html(text).replace(/<code>.*?<\/code>/g, "").includes("**"), false);
    for (let end = 0; end < text.length; end += 41) {
      const growing = segmentsOf(text.slice(0, end)).slice(0, -1);
      assert.deepEqual(growing, segments.slice(0, growing.length));
    }
  }
  assert.ok(segmentsOf("**never closed ".repeat(500)).every((segment) => segment.length <= 2000), "a mark does not stay open for ever");
});

test("tables, nested lists and task lists are rendered, and pictures become links", () => {
  assert.match(html("| a | b |\n|---|---|\n| 1 | 2 |"), /<table>/);
  assert.match(html("- a\n  1. b"), /<ul>\s*<li>a<ol>\s*<li>b/);
  assert.match(html("- [x] done"), /☑ done/);
  assert.equal(html("![p](https://a.example/p.png)").includes("<img"), false);
  assert.deepEqual(html("### a\n# b\n### c\n###### d\n# e").match(/<h\d/g), ["<h4", "<h4", "<h5", "<h6", "<h4"]);
});

test("mathematics is found, and prices are not", () => {
  for (const text of ["$x^2$", "\\(x^2\\)", "$$x^2$$", "\\[x^2\\]", "$$\nx^2\n$$", "\\[\nx^2\n\\]"]) {
    assert.match(html(text), /<code class="language-math">x\^2<\/code>/, text);
  }
  for (const text of ["it costs $5 and $6", "$ x $", "`$x$`", "US$5–US$7 or $3"]) {
    assert.equal(html(text).includes("language-math"), false, text);
  }
});
