// Makes a document fragment of the HTML of an answer. DOMPurify keeps only these elements and
// attributes; nothing in them runs or loads anything.

import "../vendor/purify.js"; // sets globalThis.DOMPurify

const { DOMPurify } = globalThis;

const TAGS = [
  ...["p", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code", "hr", "br", "details", "summary"],
  ...["table", "thead", "tbody", "tr", "th", "td", "a", "strong", "b", "em", "i", "del", "s", "ins", "u", "mark"],
  ...["sub", "sup", "kbd", "abbr", "q", "span", "div"],
];
const ATTRIBUTES = ["href", "title", "start", "align", "colspan", "rowspan", "lang", "open", "class"];
const NOT_ADDRESSES = ["start", "align", "colspan", "rowspan", "lang", "open"]; // DOMPurify would check them as such
const LANGUAGE_CLASS = /^language-[\w+#.-]{1,30}$/;
const OPTIONS = {
  ALLOWED_TAGS: TAGS,
  ALLOWED_ATTR: ATTRIBUTES,
  ALLOW_ARIA_ATTR: false,
  ALLOW_DATA_ATTR: false,
  ADD_URI_SAFE_ATTR: NOT_ADDRESSES,
  ALLOWED_URI_REGEXP: /^(?:https?|mailto|tel):/i,
  RETURN_DOM_FRAGMENT: true,
};
const MATH_OPTIONS = { USE_PROFILES: { mathMl: true }, FORBID_ATTR: ["style", "href"], RETURN_DOM_FRAGMENT: true };

DOMPurify.addHook("uponSanitizeAttribute", (element, attribute) => {
  if (attribute.attrName !== "class") return;
  attribute.keepAttr = element.nodeName === "CODE" && LANGUAGE_CLASS.test(attribute.attrValue);
});
DOMPurify.addHook("afterSanitizeAttributes", (element) => {
  if (element.nodeName !== "A" || !element.hasAttribute("href")) return;
  element.setAttribute("target", "_blank");
  element.setAttribute("rel", "noopener nofollow noreferrer");
});

// Returns a fragment. DOMPurify returns null for an empty text.
export function sanitize(html) {
  return DOMPurify.sanitize(html, OPTIONS) ?? document.createDocumentFragment();
}

export function sanitizeMath(html) {
  return DOMPurify.sanitize(html, MATH_OPTIONS);
}
