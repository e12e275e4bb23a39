// Code in an answer: its language, a button that copies it, colours, and formulas.
// The highlighter, each language and KaTeX are loaded when the first code needs them.

import { copyText } from "./copy.js";
import { create } from "./dom.js";
import { renderMath } from "./math.js";

const LANGUAGES = new Set(("bash c cpp csharp css diff dockerfile go java javascript json kotlin markdown php python " +
  "ruby rust sql swift typescript xml yaml").split(" "));
const ALIASES = {
  "c++": "cpp", "c#": "csharp", cs: "csharp", docker: "dockerfile", golang: "go", html: "xml", js: "javascript",
  jsx: "javascript", kt: "kotlin", md: "markdown", mjs: "javascript", py: "python", rb: "ruby", rs: "rust", sh: "bash",
  shell: "bash", svg: "xml", ts: "typescript", tsx: "typescript", yml: "yaml", zsh: "bash",
};
const MAX_COLOURED_CHARS = 50_000;
const loads = new Map(); // language → the promise of the highlighter that knows it

// Decorates all code in a fragment. isFinal: whether the code is whole; otherwise it is only shown.
export function decorateCode(fragment, isFinal) {
  for (const code of fragment.querySelectorAll("code")) {
    const language = /^language-(.+)$/.exec(code.className)?.[1].toLowerCase() ?? "";
    const isBlock = code.parentElement?.localName === "pre";
    if (language === "math" && isFinal) {
      renderMath(wrap(isBlock ? code.parentElement : code, isBlock ? "div" : "span", "math"), code.textContent, isBlock);
    } else if (isBlock) {
      code.parentElement.replaceWith(createFigure(code, language));
      if (isFinal) highlight(code, ALIASES[language] ?? language);
    }
  }
}

function createFigure(code, language) {
  const figure = create("figure", "code");
  figure.dir = "ltr";
  const pre = create("pre");
  pre.tabIndex = 0; // it can scroll sideways by keyboard
  pre.setAttribute("role", "group");
  pre.ariaLabel = language ? `Code, ${language}` : "Code";
  const button = Object.assign(create("button", "quiet copy-code", "Copy"), { type: "button", ariaLabel: "Copy the code" });
  button.addEventListener("click", () => copyText(code.textContent, button));
  const header = create("figcaption");
  header.append(create("span", "language", language || "text"), button);
  pre.append(code);
  figure.append(header, pre);
  return figure;
}

async function highlight(code, language) {
  if (!LANGUAGES.has(language) || code.textContent.length > MAX_COLOURED_CHARS) return;
  if (!loads.has(language)) loads.set(language, loadLanguage(language));
  try {
    const highlighter = await loads.get(language);
    highlighter.highlightElement(code);
  } catch {
    loads.delete(language); // the code stays without colours
  }
}

async function loadLanguage(language) {
  const [{ default: highlighter }, { default: grammar }] = await Promise.all([
    import("../vendor/highlight.js"), import(`../vendor/highlight-${language}.js`),
  ]);
  highlighter.configure({ ignoreUnescapedHTML: true });
  highlighter.registerLanguage(language, grammar);
  return highlighter;
}

function wrap(element, tag, className) {
  const box = create(tag, className);
  element.replaceWith(box);
  box.append(element);
  return box;
}
