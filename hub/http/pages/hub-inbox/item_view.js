// One item in the list of <hub-inbox>: a link if `data.url` is a link that may be opened, otherwise a button.

import { create, createIcon, createIconButton, safeUrl, setName } from "./elements.js";

const UNITS = [["year", 31_536_000], ["month", 2_592_000], ["day", 86_400], ["hour", 3600], ["minute", 60]];

export class ItemView {
  element = create("li", { className: "item" });
  item = null;
  #callbacks;
  #main = null; // the link or button
  #toggle;
  #archive;
  #time = create("time", { part: "item-time" });

  // callbacks: { onOpen(item, event), onToggle(item), onArchive(item) }
  constructor(callbacks) {
    this.#callbacks = callbacks;
    this.#toggle = createIconButton("read", "action action-read", () => callbacks.onToggle(this.item));
    this.#archive = createIconButton("archive", "action action-archive", () => callbacks.onArchive(this.item));
    this.element.append(create("div", { className: "actions", part: "actions" }, this.#toggle, this.#archive));
  }

  focus() {
    this.#main.focus();
  }

  // Shows an item. The elements stay while only its flags change, so that the focus stays.
  show(item, labels, target) {
    const isSame = this.item && this.item.id === item.id && this.item.data === item.data;
    this.item = item;
    if (!isSame || this.#main.target !== (this.#main.href ? target : undefined)) this.#build(target);
    const title = titleOf(item);
    this.element.setAttribute("part", item.read ? "item" : "item item-unread");
    this.element.classList.toggle("is-unread", !item.read);
    this.#main.querySelector(".state").textContent = item.read ? "" : `${labels.itemUnread}: `;
    const action = item.read ? labels.markUnread : labels.markRead;
    this.#toggle.replaceChildren(createIcon(item.read ? "unread" : "read"));
    setName(this.#toggle, `${action}: ${title}`, action);
    setName(this.#archive, `${labels.archive}: ${title}`, labels.archive);
  }

  // now: in milliseconds
  showTime(language, now) {
    const date = new Date(this.item.created_at * 1000);
    if (Number.isNaN(date.getTime())) return;
    this.#time.dateTime = date.toISOString();
    this.#time.title = date.toLocaleString(language);
    this.#time.textContent = relativeTime(date, now, language);
  }

  #build(target) {
    const { data } = this.item;
    const url = safeUrl(data?.url);
    const hadFocus = this.#main?.matches(":focus");
    this.#main?.remove();
    this.#main = url
      ? create("a", { href: url, target, rel: "noopener noreferrer" })
      : create("button", { type: "button" });
    this.#main.className = "main";
    this.#main.setAttribute("part", "item-main");
    const title = create("span", { className: "title", part: "item-title", dir: "auto" }, titleOf(this.item));
    const text = create("span", { className: "text" }, create("span", { className: "state hidden" }), title);
    if (typeof data?.body === "string") text.append(create("span", { className: "body", part: "item-body", dir: "auto" }, data.body));
    text.append(this.#time);
    this.#main.append(createPicture(data?.icon), text);
    this.#main.addEventListener("click", (event) => this.#callbacks.onOpen(this.item, event));
    this.#main.addEventListener("auxclick", (event) => event.button === 1 && this.#callbacks.onOpen(this.item, event));
    this.element.prepend(this.#main);
    if (hadFocus) this.#main.focus();
  }
}

// The title of an item; the name of its event if the publisher gave none.
export function titleOf({ data, event }) {
  if (typeof data === "string" && data) return data;
  return typeof data?.title === "string" && data.title ? data.title : event;
}

// data.icon is the URL of a picture, or an emoji.
function createPicture(icon) {
  const box = create("span", { className: "picture", part: "item-icon", "aria-hidden": "true" });
  if (typeof icon !== "string" || !icon) return box;
  if (/^\p{Extended_Pictographic}/u.test(icon)) {
    box.textContent = icon;
    return box;
  }
  const url = safeUrl(icon);
  if (!url) return box;
  const picture = create("img", { src: url, alt: "", loading: "lazy", referrerPolicy: "no-referrer" });
  picture.addEventListener("error", () => picture.remove());
  box.append(picture);
  return box;
}

function relativeTime(date, now, language) {
  const seconds = (date.getTime() - now) / 1000;
  const [unit, size] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? ["second", 1];
  const count = unit === "second" ? 0 : Math.trunc(seconds / size);
  return new Intl.RelativeTimeFormat(language, { numeric: "auto" }).format(count, unit);
}
