// The panel of <hub-inbox>: header, list, messages, and the keyboard. It shows the state of an InboxList and reports what
// the user does; requests are the element's business.
//
// Rules:
// 1. The elements of an item are kept while the item is in the list, and are moved only if their order changes: a new
//    item does not take the focus away from another one.
// 2. If the item that has the focus leaves the list, the item that takes its position gets it; without one, the title.

import { create, createIconButton, setName } from "./elements.js";
import { ItemView } from "./item_view.js";

const TIME_REFRESH_MS = 30_000;
const GAP_PX = 8; // to the bell, and to the edges of the window
const MIN_HEIGHT_PX = 240;

export class Panel {
  #callbacks;
  #views = new Map(); // item id → ItemView
  #labels = {};
  #language = "en";
  #target = "";
  #timer = null;
  #title = create("h2", { id: "title", part: "title", tabIndex: -1 });
  #readAll = create("button", { type: "button", className: "text-button", part: "mark-all" });
  #close = createIconButton("close", "close", () => this.#callbacks.onClose());
  #list = create("ul", { role: "list", part: "list" });
  #emptyTitle = create("p", { className: "empty-title" });
  #emptyHint = create("p");
  #empty = create("div", { className: "empty", part: "empty", hidden: true }, create("slot", { name: "empty" }, this.#emptyTitle, this.#emptyHint));
  #message = create("p");
  #retry = create("button", { type: "button", className: "text-button" });
  #messageBox = create("div", { className: "message", part: "message", hidden: true }, this.#message, this.#retry);
  #more = create("button", { type: "button", className: "more", part: "more", hidden: true });

  // callbacks: { onClose(), onReadAll(), onMore(), onRetry(), onOpen(item, event), onToggle(item), onArchive(item) }
  constructor(callbacks) {
    this.#callbacks = callbacks;
    const header = create("div", { className: "header", part: "header" }, this.#title, this.#readAll, this.#close);
    const area = create("div", { className: "body-area" }, this.#list, this.#empty, this.#messageBox, this.#more);
    this.element = create("div", { id: "panel", className: "panel", part: "panel", role: "dialog", "aria-labelledby": "title" }, header, area);
    if ("popover" in this.element) this.element.popover = "manual"; // in the top layer, above all of the page
    this.element.addEventListener("keydown", (event) => this.#onKey(event));
    this.#readAll.addEventListener("click", () => callbacks.onReadAll());
    this.#retry.addEventListener("click", () => callbacks.onRetry());
    this.#more.addEventListener("click", () => this.#loadMore());
  }

  get isOpen() {
    return this.element.classList.contains("is-open");
  }

  open(bell) {
    this.element.classList.add("is-open");
    this.element.showPopover?.();
    this.moveTo(bell);
    this.#showTimes();
    this.#timer = setInterval(() => this.#showTimes(), TIME_REFRESH_MS);
    this.#title.focus({ preventScroll: true });
  }

  close() {
    clearInterval(this.#timer);
    this.element.classList.remove("is-open");
    if (this.element.matches(":popover-open")) this.element.hidePopover();
  }

  // Places the panel below or above the bell, aligned to its end, within the window.
  moveTo(bell) {
    const { style } = this.element;
    const edge = bell.getBoundingClientRect();
    const { clientWidth: width } = document.documentElement;
    const isRtl = getComputedStyle(bell).direction === "rtl";
    const below = innerHeight - edge.bottom - 2 * GAP_PX;
    const isBelow = below >= MIN_HEIGHT_PX || below >= edge.top - 2 * GAP_PX;
    style.setProperty("max-height", `${Math.max(120, isBelow ? below : edge.top - 2 * GAP_PX)}px`);
    const ownWidth = this.element.offsetWidth;
    const left = isRtl ? edge.left : edge.right - ownWidth;
    style.setProperty("left", `${Math.max(GAP_PX, Math.min(left, width - ownWidth - GAP_PX))}px`);
    style.setProperty("top", isBelow ? `${edge.bottom + GAP_PX}px` : "auto");
    style.setProperty("bottom", isBelow ? "auto" : `${innerHeight - edge.top + GAP_PX}px`);
  }

  // state: that of an InboxList. options: { labels, language, target, canReadAll, error }
  show(state, { labels, language, target, canReadAll, error }) {
    this.#labels = labels;
    this.#language = language;
    this.#target = target;
    const { items, hasMore, isLoading } = state;
    this.#title.textContent = labels.title;
    this.#readAll.textContent = labels.markAllRead;
    this.#readAll.hidden = !canReadAll;
    setName(this.#close, labels.close);
    this.#emptyTitle.textContent = labels.empty;
    this.#emptyHint.textContent = labels.emptyHint;
    this.#more.textContent = isLoading ? labels.loading : labels.more;
    this.#more.hidden = !hasMore;
    this.#empty.hidden = items.length > 0 || isLoading || Boolean(state.error);
    this.#message.textContent = error ?? (state.error ? `${labels.error} ${state.error.message}` : labels.loading);
    this.#messageBox.hidden = !error && !state.error && !(isLoading && !items.length);
    this.#retry.textContent = labels.retry;
    this.#retry.hidden = !state.error;
    this.#list.hidden = items.length === 0;
    this.element.setAttribute("aria-busy", String(isLoading));
    this.#showItems(items);
  }

  #showItems(items) {
    const focused = this.element.getRootNode().activeElement;
    const focusedItem = focused?.closest(".item");
    const index = [...this.#list.children].indexOf(focusedItem);
    const ids = new Set(items.map(({ id }) => id));
    for (const [id, view] of this.#views) {
      if (ids.has(id)) continue;
      view.element.remove();
      this.#views.delete(id);
    }
    items.forEach((item, position) => {
      const view = this.#views.get(item.id) ?? new ItemView(this.#callbacks);
      this.#views.set(item.id, view);
      if (view.item !== item) {
        view.show(item, this.#labels, this.#target);
        if (this.isOpen) view.showTime(this.#language, Date.now());
      }
      if (this.#list.children[position] !== view.element) this.#list.insertBefore(view.element, this.#list.children[position] ?? null);
    });
    if (index < 0 || focused.matches(":focus")) return;
    if (focused.isConnected) focused.focus();
    else this.#focusItem(Math.min(index, items.length - 1));
  }

  // Shows every text again, for example in another language.
  rebuild() {
    for (const view of this.#views.values()) view.element.remove();
    this.#views.clear();
  }

  #showTimes() {
    for (const view of this.#views.values()) view.showTime(this.#language, Date.now());
  }

  // The first of the older items gets the focus, unless the user has moved it meanwhile.
  async #loadMore() {
    const last = this.#list.lastElementChild;
    await this.#callbacks.onMore();
    const focused = this.element.getRootNode().activeElement;
    const next = last?.nextElementSibling;
    if (this.isOpen && next && (focused === null || focused === this.#more)) this.#focusItem([...this.#list.children].indexOf(next));
  }

  #focusItem(index) {
    const element = this.#list.children[index];
    const view = [...this.#views.values()].find((each) => each.element === element);
    if (view) view.focus();
    else this.#title.focus();
  }

  // Arrows, Home and End move between the items; Delete archives; Escape closes.
  #onKey(event) {
    if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey) return;
    const { children } = this.#list;
    const item = event.target.closest(".item");
    const index = [...children].indexOf(item);
    const last = children.length - 1;
    const next = { ArrowDown: Math.min(index + 1, last), ArrowUp: Math.max(index - 1, 0), Home: 0, End: last }[event.key];
    if (event.key === "Escape") this.#callbacks.onClose();
    else if (next !== undefined && last >= 0) this.#focusItem(next);
    else if (event.key === "Delete" && item) this.#callbacks.onArchive([...this.#views.values()].find((view) => view.element === item).item);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
