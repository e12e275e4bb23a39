// Creates the elements of <hub-inbox>. No text is parsed as HTML, so a strict Content-Security-Policy, also one with
// trusted types, permits everything here.

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  bell: "M5 8.5a5 5 0 0 1 10 0c0 4 1.5 5 1.5 5h-13S5 12.5 5 8.5zM8.3 16.5a2 2 0 0 0 3.4 0",
  read: "M4 10.5l4 4 8-9",
  unread: "M10 6.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7z",
  archive: "M3 4.5h14v3H3zM4.5 7.5v8h11v-8M8 10.5h4",
  close: "M5 5l10 10M15 5L5 15",
};

// properties: DOM properties; those with a hyphen, `role` and `part` are attributes.
export function create(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role" || key === "part" || key === "dir") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}

export function createIcon(name) {
  const icon = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  icon.setAttribute("viewBox", "0 0 20 20");
  icon.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  icon.append(path);
  return icon;
}

// A button that shows only an icon. Its name is set with `setName`.
export function createIconButton(icon, part, onClick) {
  const button = create("button", { type: "button", className: "icon-button", part }, createIcon(icon));
  button.addEventListener("click", onClick);
  return button;
}

// name: the accessible name. hint: what the pointer shows.
export function setName(button, name, hint = name) {
  button.setAttribute("aria-label", name);
  button.title = hint;
}

// Returns the URL of an http or https resource, or null: a publisher must not run code in a page with `javascript:`.
export function safeUrl(url, base = document.baseURI) {
  if (typeof url !== "string" || !url) return null;
  try {
    const { href, protocol } = new URL(url, base);
    return protocol === "http:" || protocol === "https:" ? href : null;
  } catch {
    return null;
  }
}
