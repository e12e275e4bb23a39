// Formulas: KaTeX makes MathML of them, which browsers draw without fonts or styles of KaTeX.
// It is loaded with the first formula. Until then, and where it fails, the source is shown.

import { sanitizeMath } from "./sanitize.js";

const MAX_SOURCE_CHARS = 5000;
const OPTIONS = { output: "mathml", throwOnError: true, trust: false, strict: "ignore", maxExpand: 200, maxSize: 20 };
const SOURCE = /<annotation[^>]*>[^<]*<\/annotation>/g; // KaTeX repeats the source in its output
let load = null;

// Replaces the content of the box with the formula. isBlock: whether it stands in a line of its own.
export async function renderMath(box, source, isBlock) {
  if (source.length > MAX_SOURCE_CHARS) return;
  try {
    load ??= import("../vendor/katex.js"); // sets globalThis.katex
    await load;
    const html = globalThis.katex.renderToString(source, { ...OPTIONS, displayMode: isBlock });
    box.replaceChildren(sanitizeMath(html.replace(SOURCE, "")));
    if (isBlock) box.tabIndex = 0; // it can scroll sideways by keyboard
  } catch {
    // The source stays.
  }
}
