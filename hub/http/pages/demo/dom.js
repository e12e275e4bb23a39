// Short forms for elements.

export const $ = (id) => document.getElementById(id);

export function create(tag, className = "", text = "") {
  return Object.assign(document.createElement(tag), { className, textContent: text });
}

// Changes nothing if the element has the text already, so that a selection in it stays.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Says a text to users of screen readers.
export function announce(text) {
  $("live").textContent = text;
}

// The value of a meta element with which the hub describes itself to the page.
export function metaOf(name) {
  return document.querySelector(`meta[name=${name}]`).content;
}
