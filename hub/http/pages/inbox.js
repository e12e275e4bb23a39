// inbox.js: the list of an inbox, which follows the changes of all tabs and devices.
//
//   const list = await hub.inbox.open({ limit: 20 });
//   list.on(({ items, hasMore }) => show(items, hasMore));
//
// hub.js loads this module when `hub.inbox.open` is called. The list leaves requests and counts to hub.inbox.
//
// Rules:
// 1. `state` is a new object after each change, and so is each item that has changed. A list for React and the like.
// 2. While a page is requested, changes are kept, and applied to the response.
// 3. A page that is loaded again replaces the items that it covers. Older items stay.
// 4. Changes that the newest page contains already do not change its items: a stream may begin before the list.
// 5. At most MAX_ITEMS items are in the list. If more arrive, the oldest ones are dropped, and `loadMore` gets them back.

import { Positions, retryDelayMs } from "./hub.js";

const MAX_ITEMS = 1000;
const FLAGS = { read: { read: true, seen: true }, unread: { read: false }, seen: { seen: true } };
const REMOVING = new Set(["delete", "expire"]);

export class InboxList {
  #inbox;
  #options;
  #listeners = new Set();
  #removers;
  #position = new Positions(); // of the page with the newest items
  #newest = new Set(); // the ids of its items
  #isLoaded = false;
  #kept = []; // changes that arrived while a page was requested
  #requests = 0; // the number of the newest request
  #next = null; // where the next page begins
  #retry = null;
  #failures = 0;
  #state = { items: [], hasMore: false, isLoading: true, error: null };

  // Returns a list once its first page was loaded, or could not be loaded.
  static async open(inbox, options) {
    const list = new InboxList(inbox, options);
    await list.reload();
    return list;
  }

  constructor(inbox, options = {}) {
    this.#inbox = inbox;
    this.#options = { archived: false, ...options };
    this.#removers = [
      inbox.on("item", (change) => this.#onChange(change)),
      inbox.on("change", (change) => this.#onChange(change)),
      inbox.on("stale", () => this.reload()),
    ];
  }

  // { items, hasMore, isLoading, error }; the newest item first
  get state() {
    return this.#state;
  }

  // Calls the listener with each new state. Returns a function that removes it.
  on(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  // Loads the newest items again. Resolves with the state.
  reload() {
    return this.#load(null);
  }

  // Loads older items. Resolves with the state.
  loadMore() {
    return this.#state.hasMore && !this.#state.isLoading ? this.#load(this.#next) : Promise.resolve(this.#state);
  }

  close() {
    this.#requests += 1;
    clearTimeout(this.#retry);
    for (const remove of this.#removers) remove();
    this.#listeners.clear();
  }

  async #load(before) {
    this.#requests += 1;
    const number = this.#requests;
    clearTimeout(this.#retry);
    this.#setState({ isLoading: true });
    try {
      const page = await this.#inbox.list({ ...this.#options, before });
      if (number !== this.#requests) return this.#state;
      this.#failures = 0;
      this.#show(page, before);
    } catch (error) {
      if (number !== this.#requests) return this.#state;
      this.#kept = [];
      this.#setState({ isLoading: false, error });
      if (error.isRetryable) this.#retry = setTimeout(() => this.#load(before), retryDelayMs(this.#failures++));
    }
    return this.#state;
  }

  #show(page, before) {
    const present = this.#state.items;
    let { items } = page;
    if (before) {
      items = [...present, ...withoutItems(items, present)];
      this.#next = page.next ?? null;
    } else {
      // The items that the page does not reach stay, if they follow it without a gap.
      const end = page.next ? present.findIndex(({ id }) => id === items.at(-1)?.id) : -1;
      const older = end < 0 ? [] : withoutItems(present.slice(end + 1), items);
      if (!older.length) this.#next = page.next ?? null;
      this.#position = new Positions(page.cursor);
      this.#newest = new Set(page.items.map(({ id }) => id));
      items = [...items, ...older];
    }
    this.#isLoaded = true;
    for (const change of this.#kept.splice(0)) items = this.#changed(items, change);
    this.#setState({ items, isLoading: false, error: null });
  }

  #onChange(change) {
    if (this.#state.isLoading) this.#kept = [...this.#kept, change].slice(-MAX_ITEMS);
    if (this.#isAdding(change.change)) this.reload(); // the list does not have the items
    if (!this.#isLoaded) return; // nothing is known of the items between a new one and older ones
    const items = this.#changed(this.#state.items, change);
    if (items !== this.#state.items) this.#setState({ items });
  }

  #setState(changed) {
    const state = { ...this.#state, ...changed };
    state.items = state.items.slice(0, MAX_ITEMS);
    state.hasMore = this.#next !== null && state.items.length < MAX_ITEMS;
    this.#state = state;
    for (const listener of this.#listeners) listener(state);
  }

  // Returns the items after a change.
  #changed(items, { item, change, cursor, ...selection }) {
    // The items of the newest page contain the changes up to its position; older items may not.
    const isKnown = Boolean(cursor) && this.#position.covers(cursor);
    const isDone = ({ id }) => isKnown && this.#newest.has(id);
    if (item) {
      const isOlder = ({ created_at: time }) => (isKnown ? time < item.created_at : time <= item.created_at);
      const hasKeyOf = ({ key, topic }) => key && key === item.key && topic === item.topic;
      const isReplaced = (each) => (each.id === item.id ? !isKnown : hasKeyOf(each) && isOlder(each));
      const others = items.filter((each) => isDone(each) || !isReplaced(each));
      const { category, archived } = this.#options;
      return isKnown || archived || (category && item.category !== category) ? others : [item, ...others];
    }
    const isInSelection = selector(items, selection);
    const isSelected = (each) => isInSelection(each) && !isDone(each);
    if (this.#isRemoving(change)) return items.filter((each) => !isSelected(each));
    const flags = FLAGS[change];
    return flags ? items.map((each) => (isSelected(each) ? { ...each, ...flags } : each)) : items;
  }

  #isAdding(change) {
    const { archived, unread } = this.#options;
    return change === (archived ? "archive" : "unarchive") || (change === "unread" && Boolean(unread));
  }

  #isRemoving(change) {
    const { archived, unread } = this.#options;
    if (change === "archive") return archived === false;
    if (change === "unarchive") return archived === true;
    return REMOVING.has(change) || (change === "read" && Boolean(unread));
  }
}

// Returns a function that says whether a change is for an item.
function selector(items, { items: ids, up_to: upTo, category }) {
  if (ids) return ({ id }) => ids.includes(id);
  if (category != null) return (item) => item.category === category;
  const start = items.findIndex(({ id }) => id === upTo);
  const selected = new Set(start < 0 ? [] : items.slice(start));
  return (item) => selected.has(item);
}

function withoutItems(items, others) {
  const ids = new Set(others.map(({ id }) => id));
  return items.filter(({ id }) => !ids.has(id));
}
