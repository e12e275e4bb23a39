// Elements of single parts: details that open, numbered sources, files and pictures, code.

import { create } from "./dom.js";
import { fileAddress, hostOf, isWebUrl } from "./part_views.js";

export function createDetails(className, update) {
  const element = create("details", `aside ${className}`);
  const [summary, body] = [create("summary"), create("div", "body")];
  element.append(summary, body);
  return { element, update: (view) => update({ element, summary, body }, view) };
}

export function createSource({ number, url, title }) {
  const anchor = create(isWebUrl(url) ? "a" : "span", "source");
  anchor.append(create("span", "number", String(number)), " ", create("span", "title", title || hostOf(url)));
  anchor.title = url;
  if (isWebUrl(url)) openInNewTab(anchor, url);
  const item = create("li");
  item.append(anchor);
  return item;
}

export function drawFile(element, part) {
  const { url, data, media_type: mediaType, name } = part;
  const address = fileAddress(part);
  const anchor = create(address ? "a" : "span", "", name || (data === undefined ? hostOf(url) : "File"));
  if (address && data === undefined) openInNewTab(anchor, address);
  else if (address) Object.assign(anchor, { href: address, download: name || "file" });
  const size = data !== undefined && `${Math.ceil((data.length * 3) / 4096)} KB`;
  const caption = create("figcaption");
  caption.append(anchor, " ", create("span", "note", [mediaType, size].filter(Boolean).join(", ")));
  element.replaceChildren(caption);
  if (!address || !mediaType.startsWith("image/")) return;
  const image = create("img");
  image.addEventListener("error", () => image.remove()); // the link stays
  Object.assign(image, { alt: name || "Picture", src: address });
  element.prepend(image);
}

function openInNewTab(anchor, url) {
  Object.assign(anchor, { href: url, target: "_blank", rel: "noopener noreferrer" });
}

export function createCode(label, text) {
  const code = create("pre", "", text);
  code.tabIndex = 0; // it can scroll by keyboard
  code.ariaLabel = label;
  code.setAttribute("role", "group");
  return [create("p", "label", label), code];
}
