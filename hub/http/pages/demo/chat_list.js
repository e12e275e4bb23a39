// One's chats beside the conversation, from GET /generations: the newest first, each with the first
// question that the hub still keeps as its title.

import { chatOfTopic, topicOfChat } from "./chat_turns.js";
import { $, create, setHidden, setText } from "./dom.js";

const RELOAD_MS = 400;
const RETRY_MS = 2000;
const STATUS_TEXTS = { running: "answering", queued: "queued", waiting: "waits for you", suspended: "waits for you" };
const RELOADING = new Set(["started", "done", "stopped", "failed", "input_requested", "input_received", "input_expired"]);

export class ChatList {
  #generations = new Map(); // id → its entry of the list
  #items = new Map(); // chat → its elements
  #timer = null;
  #requests = 0; // the number of the newest request
  #answered = 0; // the number of the request whose response is shown

  // current: the id of the chat that is shown; "" is the one without an id. onSelect(chat), onLoad()
  constructor(api, { current, onSelect, onLoad }) {
    Object.assign(this, { api, current, onSelect, onLoad });
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
    if (RELOADING.has(name.replace("generation.", ""))) this.#loadSoon();
  }

  // Resolves when the list was loaded, or could not be loaded. Then it is loaded again later.
  async load() {
    const number = (this.#requests += 1);
    let listed;
    try {
      listed = await this.api.listGenerations();
    } catch {
      this.#loadSoon(RETRY_MS);
      return;
    }
    if (number < this.#answered) return; // a newer response was faster
    this.#answered = number;
    this.#generations = new Map(listed.map((each) => [each.generation, each]));
    this.#draw();
    this.onLoad();
  }

  #loadSoon(delayMs = RELOAD_MS) {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.load();
    }, delayMs);
  }

  select(chat) {
    if (chat === chatOfPage()) return this.#show(chat);
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
    for (const [chat, { item }] of this.#items) {
      if (chats.has(chat)) continue;
      item.remove();
      this.#items.delete(chat);
    }
    [...chats].forEach(([chat, facts], index) => {
      const { item, ...elements } = this.#items.get(chat) ?? this.#createItem(chat);
      if ($("chat-list").children[index] !== item) $("chat-list").insertBefore(item, $("chat-list").children[index] ?? null);
      this.#drawItem(elements, chat, facts);
    });
    $("no-chats").hidden = chats.size > 0;
  }

  // An item stays while its chat is listed, so that a press and the focus survive a new list.
  #createItem(chat) {
    const button = Object.assign(create("button", "chat-item"), { type: "button" });
    const [name, note] = [create("span", "title"), create("span", "note")];
    name.dir = "auto";
    button.append(name, note);
    button.dataset.chat = chat;
    button.addEventListener("click", () => this.select(chat));
    const item = create("li");
    item.append(button);
    this.#items.set(chat, { item, button, name, note });
    return this.#items.get(chat);
  }

  #drawItem({ button, name, note }, chat, { title, status }) {
    const topic = topicOfChat(chat);
    setText(name, topic ? `# ${topic}` : title ?? "Untitled");
    setText(note, status ?? "");
    setHidden(note, !status);
    if (chat === this.current) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
  }
}

export function chatOfPage() {
  return new URLSearchParams(location.search).get("chat") ?? "";
}

function chatOf({ chat, topic }) {
  return topic ? chatOfTopic(topic) : chat ?? "";
}
