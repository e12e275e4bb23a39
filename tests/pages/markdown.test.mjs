// The demo page's markdown: how text is cut into blocks, also while it is still growing.
import assert from "node:assert/strict";
import { test } from "node:test";

import { blocksOf } from "../../hub/http/pages/demo/markdown.js";

const shape = (text) => blocksOf(text).map(({ tag, lines }) => [tag, ...lines]);

test("paragraphs keep their lines, lists their items, headings stand alone", () => {
  assert.deepEqual(shape("# T\none\ntwo\n\n- a\n- b\n  more\n\n2. c\n3) d"), [
    ["h4", "T"], ["p", "one", "two"], ["ul", "a", "b\nmore"], ["ol", "c", "d"],
  ]);
  assert.equal(blocksOf("3. c")[0].start, 3);
});

test("a code block keeps everything until its fence, or until the text so far ends", () => {
  assert.deepEqual(shape("```js\n# x\n\n- y\n```\nz"), [["pre", "# x", "", "- y"], ["p", "z"]]);
  assert.deepEqual(shape("```\nhalf"), [["pre", "half"]]);
});

test("text that only looks like markdown stays text", () => {
  assert.deepEqual(shape("-5 degrees\n1.5 times\n#tag"), [["p", "-5 degrees", "1.5 times", "#tag"]]);
});
