// Tests the demo page's markdown: how text is split into blocks, also while it grows.
import assert from "node:assert/strict";
import { test } from "node:test";

import { parseBlocks } from "../../hub/http/pages/demo/markdown.js";

const tagsAndLines = (text) => parseBlocks(text).map(({ tag, lines }) => [tag, ...lines]);

test("paragraphs keep their lines, lists keep their items, a heading is one block", () => {
  assert.deepEqual(tagsAndLines("# T\none\ntwo\n\n- a\n- b\n  more\n\n2. c\n3) d"), [
    ["h4", "T"], ["p", "one", "two"], ["ul", "a", "b\nmore"], ["ol", "c", "d"],
  ]);
  assert.equal(parseBlocks("3. c")[0].start, 3);
});

test("a code block ends at its fence or at the end of the text so far", () => {
  assert.deepEqual(tagsAndLines("```js\n# x\n\n- y\n```\nz"), [["pre", "# x", "", "- y"], ["p", "z"]]);
  assert.deepEqual(tagsAndLines("```\nhalf"), [["pre", "half"]]);
});

test("text that only looks like markdown stays text", () => {
  assert.deepEqual(tagsAndLines("-5 degrees\n1.5 times\n#tag"), [["p", "-5 degrees", "1.5 times", "#tag"]]);
});
