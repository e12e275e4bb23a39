// Short forms for elements.

export const $ = (id) => document.getElementById(id);

export function create(tag, className = "", text = "") {
  return Object.assign(document.createElement(tag), { className, textContent: text });
}

// Changes nothing if the element has the text already, so that a selection in it stays and the browser
// has nothing to draw. A text that grew gets the new part.
export function setText(element, text) {
  const before = element.textContent;
  if (before === text) return;
  const node = element.firstChild;
  if (before && node === element.lastChild && node.data === before && text.startsWith(before)) node.appendData(text.slice(before.length));
  else element.textContent = text;
}

// Likewise for what can be hidden.
export function setHidden(element, isHidden) {
  if (element.hidden !== Boolean(isHidden)) element.hidden = isHidden;
}

// Likewise for an attribute.
export function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

// Says a text to users of screen readers.
export function announce(text) {
  $("live").textContent = text;
}

// The value of a meta element with which the hub describes itself to the page.
export function metaOf(name) {
  return document.querySelector(`meta[name=${name}]`).content;
}
