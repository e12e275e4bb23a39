// Tests that the demo page is an example to read: small modules, only the public interface of
// hub.js, and snippets that the documents have.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { SNIPPETS } from "../../hub/http/pages/demo/snippets.js";

const root = new URL("../../", import.meta.url);
const folder = new URL("hub/http/pages/demo/", root);
const read = (path, base = folder) => readFileSync(new URL(path, base), "utf8");
const modules = readdirSync(folder).filter((name) => name.endsWith(".js"));

test("no module has more than 150 lines", () => {
  for (const name of modules) assert.ok(read(name).split("\n").length <= 151, name);
});

test("modules import only what hub.d.ts declares", () => {
  const declared = new Set([...read("../hub.d.ts").matchAll(/^export (?:class|function) (\w+)/gm)].map(([, name]) => name));
  for (const name of modules) {
    const imports = /import \{([^}]+)\} from "\.\.\/hub\.js"/.exec(read(name))?.[1] ?? "";
    for (const each of imports.split(",").map((word) => word.trim()).filter(Boolean)) assert.ok(declared.has(each), `${name}: ${each}`);
  }
});

test("each button \"View source\" has a snippet, and each snippet is in its document", () => {
  const named = [...read("demo.html").matchAll(/data-snippet="(\w+)"/g)].map(([, name]) => name);
  assert.deepEqual([...new Set(named)].sort(), Object.keys(SNIPPETS).sort());
  for (const [name, [, page, , code]] of Object.entries(SNIPPETS)) assert.ok(read(page, root).includes(code), name);
});

test("the counter has the lines that the document shows", () => {
  for (const line of SNIPPETS.break[3].split("\n")) assert.ok(read("ledger.js").includes(line), line);
});
