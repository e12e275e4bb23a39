// Code in an answer: its language, a button that copies it, colours, and formulas.
// The highlighter, each language and KaTeX are loaded when the first code needs them.

import { copyText } from "./copy.js";
import { create } from "./dom.js";
import { renderMath } from "./math.js";
import { runLater } from "./run_later.js";

const LANGUAGES = new Set(("bash c cpp csharp css diff dockerfile go java javascript json kotlin markdown php python " +
  "ruby rust sql swift typescript xml yaml").split(" "));
const ALIASES = {
  "c++": "cpp", "c#": "csharp", cs: "csharp", docker: "dockerfile", golang: "go", html: "xml", js: "javascript",
  jsx: "javascript", kt: "kotlin", md: "markdown", mjs: "javascript", py: "python", rb: "ruby", rs: "rust", sh: "bash",
  shell: "bash", svg: "xml", ts: "typescript", tsx: "typescript", yml: "yaml", zsh: "bash",
};
const MAX_COLOURED_CHARS = 10_000; // colouring more would hold up the page
const loads = new Map(); // language → the promise of the highlighter that knows it

// Gives each block of code in a fragment its language and a button.
export function frameCode(fragment) {
  for (const code of fragment.querySelectorAll("pre > code:not(.language-math)")) {
    code.parentElement.replaceWith(createFigure(code, languageOf(code)));
  }
}

// Colours the code in an element, and draws its formulas. All of it is there.
export function finishCode(element) {
  const codes = element.localName === "code" ? [element] : element.querySelectorAll("pre code, code.language-math");
  for (const code of codes) {
    const isBlock = code.parentElement.localName === "pre";
    const language = languageOf(code);
    if (language === "math") {
      const box = wrap(isBlock ? code.parentElement : code, isBlock ? "div" : "span", "math");
      runLater(() => renderMath(box, code.textContent, isBlock));
    } else if (isBlock) runLater(() => highlight(code, ALIASES[language] ?? language));
  }
}

function languageOf(code) {
  return /^language-(.+)$/.exec(code.className)?.[1].toLowerCase() ?? "";
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
