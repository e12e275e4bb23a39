// One's chats beside the conversation, from GET /generations: the newest first, each with the first
// question that the hub still keeps as its title.

import { chatOfTopic, topicOfChat } from "./chat_turns.js";
import { $, create } from "./dom.js";

const RELOAD_MS = 400;
const STATUS_TEXTS = { running: "answering", queued: "queued", waiting: "waits for you", suspended: "waits for you" };
const RELOADING = new Set(["started", "done", "stopped", "failed", "input_requested", "input_received"]);

export class ChatList {
  #generations = new Map(); // id → its entry of the list
  #timer = null;

  // current: the id of the chat that is shown; "" is the one without an id. onSelect(chat)
  constructor(api, { current, onSelect }) {
    Object.assign(this, { api, current, onSelect });
    this.loaded = this.load();
    $("new-chat").addEventListener("click", () => this.select(`chat-${Date.now().toString(36)}`));
    addEventListener("popstate", () => this.#show(chatOfPage()));
  }

  // Returns the entry of a generation: its `chat` and `metadata`. undefined if the hub keeps none.
  entryOf(generation) {
    return this.#generations.get(generation);
  }

  // Returns the ids of the generations in a chat, the oldest first.
  generationsOf(chat) {
    return [...this.#generations.values()].filter((each) => chatOf(each) === chat).map(({ generation }) => generation).reverse();
  }

  onEvent(name) {
    if (!RELOADING.has(name.replace("generation.", ""))) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.load();
    }, RELOAD_MS);
  }

  async load() {
    try {
      const listed = await this.api.listGenerations();
      this.#generations = new Map(listed.map((each) => [each.generation, each]));
    } catch {
      return; // the list stays as it was
    }
    this.#draw();
  }

  select(chat) {
    const url = new URL(location.href);
    if (chat) url.searchParams.set("chat", chat);
    else url.searchParams.delete("chat");
    history.pushState(null, "", url);
    this.#show(chat);
  }

  #show(chat) {
    this.current = chat;
    this.#draw();
    this.onSelect(chat);
  }

  #draw() {
    const chats = new Map(); // id → its title and whether something happens in it
    for (const each of this.#generations.values()) {
      const chat = chats.get(chatOf(each)) ?? {};
      chats.set(chatOf(each), { title: each.metadata?.title ?? chat.title, status: chat.status ?? STATUS_TEXTS[each.status] });
    }
    if (!chats.has(this.current) && chats.size) chats.set(this.current, { title: "New chat" });
    const focused = document.activeElement?.dataset?.chat;
    $("chat-list").replaceChildren(...[...chats].map(([chat, facts]) => this.#createItem(chat, facts)));
    if (focused !== undefined) $("chat-list").querySelector(`[data-chat="${CSS.escape(focused)}"]`)?.focus();
    $("no-chats").hidden = chats.size > 0;
  }

  #createItem(chat, { title, status }) {
    const button = Object.assign(create("button", "chat-item"), { type: "button" });
    const topic = topicOfChat(chat);
    const name = create("span", "title", topic ? `# ${topic}` : title ?? "Untitled");
    name.dir = "auto";
    button.append(name, ...(status ? [create("span", "note", status)] : []));
    button.dataset.chat = chat;
    if (chat === this.current) button.setAttribute("aria-current", "page");
    button.addEventListener("click", () => this.select(chat));
    const item = create("li");
    item.append(button);
    return item;
  }
}

export function chatOfPage() {
  return new URLSearchParams(location.search).get("chat") ?? "";
}

function chatOf({ chat, topic }) {
  return topic ? chatOfTopic(topic) : chat ?? "";
}
