// hub-inbox.js: <hub-inbox>, a bell with the number of unread notifications, and a panel with them.
//
//   <script type="module" src="https://hub.example/hub-inbox.js"></script>
//   <hub-inbox user="alice"></hub-inbox>
//
// It needs no framework and no build. docs/guides/inbox.md describes attributes, properties, events, parts and variables.
// It opens a connection of its own, which the tabs of a user share, or uses the one of its property `hub`.

import { create, createIcon } from "./hub-inbox/elements.js";
import { titleOf } from "./hub-inbox/item_view.js";
import { fill, LABELS, labelsFor, languageOf } from "./hub-inbox/labels.js";
import { Panel } from "./hub-inbox/panel.js";
import { styleSheet } from "./hub-inbox/style.js";
import { connect } from "./hub.js";

const DEFAULT_LIMIT = 20;
const MAX_SHOWN_COUNT = 99;
const ANNOUNCE_DELAY_MS = 400; // a replay after a reconnect is one announcement
const NO_LIST = { items: [], hasMore: false, isLoading: true, error: null };
const PROPERTIES = ["hub", "getToken", "labels", "open"];
const Base = globalThis.HTMLElement ?? class {}; // a server that renders pages may import this module

export class HubInbox extends Base {
  static LABELS = LABELS;
  static observedAttributes = ["url", "user", "topics", "category", "count", "lang", "theme", "target", "open"];

  #hub = null; // the hub that is used
  #givenHub = null; // the property `hub`
  #ownHub = null; // the hub that this element opened
  #getToken = null;
  #ownLabels = {};
  #list = null; // an InboxList, from the first time that the panel opens
  #opening = null; // resolves with #list
  #opened = null; // the newest list that was requested, as a promise
  #removers = [];
  #error = null; // why the last change failed
  #seen = null; // the newest item that was marked as seen
  #arrived = []; // the titles that are announced next
  #announceTimer = null;
  #bell;
  #count;
  #live;
  #panel;

  constructor() {
    super();
    this.#count = create("span", { className: "count", part: "count", hidden: true, "aria-hidden": "true" });
    this.#bell = create(
      "button",
      { type: "button", className: "bell", part: "bell", "aria-haspopup": "dialog", "aria-expanded": "false", "aria-controls": "panel" },
      create("slot", { name: "bell" }, createIcon("bell")),
      this.#count,
    );
    this.#live = create("p", { className: "hidden", role: "status" });
    this.#panel = new Panel({
      onClose: () => this.hide({ focus: true }),
      onReadAll: () => this.markAllRead(),
      onMore: () => this.#list?.loadMore(),
      onRetry: () => this.reload(),
      onOpen: (item, event) => this.#onOpen(item, event),
      onToggle: (item) => this.#change(item.read ? "unread" : "read", item.id),
      onArchive: (item) => this.#archive(item),
    });
    this.attachShadow({ mode: "open" }).append(this.#bell, this.#panel.element, this.#live);
    this.shadowRoot.adoptedStyleSheets = [styleSheet()];
    this.#bell.addEventListener("click", () => this.toggle());
    this.#bell.addEventListener("keydown", ({ key }) => key === "Escape" && this.hide());
    this.addEventListener("focusout", ({ relatedTarget }) => relatedTarget && !this.#has(relatedTarget) && this.hide());
  }

  connectedCallback() {
    for (const name of PROPERTIES) this.#upgrade(name);
    whenScriptsHaveRun(() => this.isConnected && this.#start()); // one of them may set `hub`
  }

  // An element that is moved leaves the document for a moment only.
  disconnectedCallback() {
    queueMicrotask(() => this.isConnected || this.#stop());
  }

  attributeChangedCallback(name, before, value) {
    if (before === value || !this.isConnected) return;
    if (name === "open") this.#showOpen();
    else if (["url", "user", "topics", "category"].includes(name)) this.#restart();
    else {
      this.#panel.rebuild();
      this.#render();
    }
  }

  // The Hub whose inbox is shown. Without one the element connects to `url`.
  get hub() {
    return this.#hub;
  }

  set hub(hub) {
    this.#givenHub = hub ?? null;
    this.#restart();
  }

  // As the option `getToken` of `connect`.
  get getToken() {
    return this.#getToken;
  }

  set getToken(getToken) {
    this.#getToken = getToken ?? null;
    this.#restart();
  }

  // Texts that replace those of the language.
  get labels() {
    return { ...labelsFor(languageOf(this)), ...this.#ownLabels };
  }

  set labels(labels) {
    this.#ownLabels = { ...labels };
    this.#panel.rebuild();
    this.#render();
  }

  get open() {
    return this.hasAttribute("open");
  }

  set open(isOpen) {
    this.toggleAttribute("open", Boolean(isOpen));
  }

  // The items that are loaded, the newest first.
  get items() {
    return this.#list?.state.items ?? [];
  }

  // The number that the bell shows.
  get number() {
    const counts = this.#hub?.inbox.counts;
    if (!counts) return 0;
    return this.#countsUnseen ? counts.unseen + counts.topic_unseen : counts.unread + counts.topic_unread;
  }

  show() {
    this.open = true;
  }

  // focus: whether the bell gets the focus
  hide({ focus = false } = {}) {
    this.open = false;
    if (focus) this.#bell.focus();
  }

  toggle() {
    if (this.open) this.hide({ focus: true });
    else this.show();
  }

  // Loads the items again.
  async reload() {
    await (await this.#openList())?.reload();
  }

  async markAllRead() {
    const [newest] = this.items;
    const { category } = this;
    if (!category && !newest) return;
    this.#arrived = []; // what is read is not announced as new after the announcement of this change
    if (await this.#change("read", category ? { category } : { up_to: newest.id })) this.#announce(this.labels.allRead);
  }

  get category() {
    return this.getAttribute("category");
  }

  get #countsUnseen() {
    return this.getAttribute("count") === "unseen";
  }

  // A page may have set a property before this class was known.
  #upgrade(name) {
    if (!Object.hasOwn(this, name)) return;
    const value = this[name];
    delete this[name];
    this[name] = value;
  }

  // -- the connection

  #start() {
    if (this.#hub) return;
    this.#hub = this.#givenHub ?? this.#connect();
    const { inbox } = this.#hub;
    this.#removers = [
      inbox.on("counts", (counts) => {
        this.#render();
        this.#dispatch("counts", { counts, number: this.number });
      }),
      inbox.on("item", ({ item, replayed }) => replayed || this.#onArrival(item)),
    ];
    this.#render();
    if (this.open) this.#showOpen();
  }

  #connect() {
    const topics = (this.getAttribute("topics") ?? "").split(",").filter(Boolean);
    const url = this.getAttribute("url") ?? new URL(import.meta.url).origin;
    this.#ownHub = connect({ url, user: this.getAttribute("user"), topics, getToken: this.#getToken });
    return this.#ownHub;
  }

  #stop() {
    this.#panel.close();
    this.#listenToWindow(false);
    for (const remove of this.#removers.splice(0)) remove();
    clearTimeout(this.#announceTimer);
    this.#list?.close();
    this.#ownHub?.close();
    this.#list = this.#opening = this.#opened = this.#ownHub = this.#hub = this.#seen = null;
  }

  #restart() {
    if (!this.#hub) return;
    this.#stop();
    this.#start();
  }

  #openList() {
    const limit = Number(this.getAttribute("limit")) || DEFAULT_LIMIT;
    this.#opening ??= this.#hub && this.#useList(this.#hub.inbox.open({ category: this.category, limit }));
    return this.#opening;
  }

  // Another hub or category may have been chosen until the list is open: then it is closed.
  async #useList(opened) {
    this.#opened = opened;
    try {
      const list = await opened;
      if (opened !== this.#opened) {
        list.close();
        return null;
      }
      this.#list = list;
      list.on(() => this.#render());
      this.#render();
      return list;
    } catch (error) {
      if (opened !== this.#opened) return null;
      this.#opening = null; // the module could not be loaded
      this.#error = error.message;
      this.#render();
      return null;
    }
  }

  // -- what the user does

  #onOpen(item, event) {
    const isAllowed = this.#dispatch("item-open", { item }, { cancelable: true });
    if (!isAllowed) event.preventDefault();
    if (!item.read) this.#change("read", item.id);
    if (event.type === "click" && !isAllowed) this.hide();
  }

  async #archive(item) {
    if (await this.#change("archive", item.id)) this.#announce(fill(this.labels.archived, { title: titleOf(item) }));
  }

  // Returns whether the hub has made the change.
  async #change(change, selection) {
    try {
      await this.#hub.inbox[change](selection);
      this.#error = null;
    } catch (error) {
      this.#error = `${this.labels.failed} ${error.message}`;
      this.#announce(this.#error);
    }
    this.#render();
    return this.#error === null;
  }

  #onPointerDown = (event) => {
    if (!event.composedPath().includes(this)) this.hide();
  };

  #onMove = () => this.#panel.isOpen && this.#panel.moveTo(this.#bell);

  #listenToWindow(isOpen) {
    const change = isOpen ? addEventListener : removeEventListener;
    change("pointerdown", this.#onPointerDown, true);
    change("resize", this.#onMove);
    change("scroll", this.#onMove, true);
  }

  #has(node) {
    return node === this || this.contains(node) || this.shadowRoot.contains(node);
  }

  // -- what is shown

  #showOpen() {
    if (this.open === this.#panel.isOpen || !this.#hub) return;
    this.#bell.setAttribute("aria-expanded", String(this.open));
    this.#listenToWindow(this.open);
    if (this.open) {
      this.#openList();
      this.#render();
      this.#panel.open(this.#bell);
      this.#markSeen();
    } else {
      this.#error = null;
      this.#panel.close();
    }
    this.#dispatch("toggle", { open: this.open });
  }

  #render() {
    const { labels, number } = this;
    const shown = number > MAX_SHOWN_COUNT ? `${MAX_SHOWN_COUNT}+` : String(number);
    const suffix = number ? `, ${fill(this.#countsUnseen ? labels.unseen : labels.unread, { n: shown })}` : "";
    this.#bell.setAttribute("aria-label", labels.title + suffix);
    this.#count.textContent = shown;
    this.#count.hidden = number === 0;
    const counts = this.#hub?.inbox.counts;
    const isUnread = Boolean(counts && counts.unread + counts.topic_unread) && this.items.length > 0;
    this.#panel.show(this.#list?.state ?? NO_LIST, {
      labels, language: languageOf(this), target: this.getAttribute("target") ?? "", canReadAll: isUnread, error: this.#error,
    });
    this.#markSeen();
  }

  // What is in the open panel is seen.
  #markSeen() {
    const newest = this.items.find(({ seen }) => !seen);
    if (!this.#panel.isOpen || !newest || newest.id === this.#seen) return;
    this.#seen = newest.id;
    this.#hub.inbox.seen(this.category ? { category: this.category } : { up_to: newest.id }).catch(() => (this.#seen = null));
  }

  #onArrival(item) {
    if (this.category && item.category !== this.category) return;
    this.#arrived.push(titleOf(item));
    clearTimeout(this.#announceTimer);
    this.#announceTimer = setTimeout(() => {
      const titles = this.#arrived.splice(0);
      const { labels } = this;
      if (!titles.length) return;
      this.#announce(fill(titles.length > 1 ? labels.arrivedMany : labels.arrived, { n: titles.length, title: titles[0] }));
    }, ANNOUNCE_DELAY_MS);
  }

  #announce(text) {
    this.#live.textContent = text;
  }

  #dispatch(name, detail, options = {}) {
    return this.dispatchEvent(new CustomEvent(name, { detail, ...options }));
  }
}

// Calls work() once the scripts of the page have run, so that an element which gets a hub opens no connection before.
function whenScriptsHaveRun(work) {
  const [navigation] = performance.getEntriesByType("navigation");
  const isParsed = document.readyState === "complete" || navigation?.domContentLoadedEventEnd > 0;
  if (isParsed) setTimeout(work);
  else document.addEventListener("DOMContentLoaded", () => work(), { once: true });
}

if (globalThis.customElements && !customElements.get("hub-inbox")) customElements.define("hub-inbox", HubInbox);
