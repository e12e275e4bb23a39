// Tests how the demo page splits Markdown into blocks while it grows. No DOM is needed.
import assert from "node:assert/strict";
import { test } from "node:test";

import { MarkdownBlocks, renderToken } from "../../hub/http/pages/demo/markdown_blocks.js";

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

const sourcesOf = ({ blocks }) => blocks.map(({ type, raw }) => [type, raw]);

test("a text that grows in any steps has the same blocks as the whole text", () => {
  for (const { text, cuts } of documents(800)) {
    const growing = new MarkdownBlocks();
    for (const cut of cuts) {
      const now = growing.update(text.slice(0, cut));
      const whole = new MarkdownBlocks();
      assert.deepEqual(sourcesOf(now), sourcesOf(whole.update(text.slice(0, cut))), JSON.stringify(text.slice(0, cut)));
    }
  }
});

test("a final block stays the same object, and only the last lines are parsed again", () => {
  const paragraphs = Array.from({ length: 500 }, (_, number) => `Paragraph ${number} of a long answer.`);
  const text = paragraphs.join("\n\n");
  const growing = new MarkdownBlocks();
  let before = [];
  for (let end = 0; end < text.length; end += 20) {
    const { blocks, finalCount } = growing.update(text.slice(0, end));
    assert.ok(blocks.length - finalCount <= 3);
    before.forEach((token, index) => assert.equal(blocks[index], token));
    before = blocks.slice(0, finalCount);
  }
});

test("a text that is another one begins anew", () => {
  const growing = new MarkdownBlocks();
  growing.update("# One\n\ntwo\n\nthree\n");
  assert.deepEqual(sourcesOf(growing.update("other")), [["paragraph", "other"]]);
});

test("a link definition is known to later blocks, and announced for earlier ones", () => {
  const growing = new MarkdownBlocks();
  growing.update("see [x]\n\nnext\n\n");
  const { blocks, hasNewTargets } = growing.update("see [x]\n\nnext\n\n[x]: https://a.example\n\nand [x]");
  assert.equal(hasNewTargets, true);
  assert.match(renderToken(blocks.at(-1)), /href="https:\/\/a\.example"/);
});

const html = (text) => new MarkdownBlocks().update(text).blocks.map(renderToken).join("");

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
