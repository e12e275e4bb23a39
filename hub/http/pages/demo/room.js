// A topic that several users follow: who is in it, and the chat whose answers go to all of them.

import { $, create } from "./dom.js";

export class Room {
  #people = new Map(); // user → whether the user is in the topic

  // topic: its name. user: who looks. onOpen(): opens the chat of the topic.
  constructor(topic, user, { onOpen }) {
    Object.assign(this, { topic, user });
    $("open-room").addEventListener("click", onOpen);
    $("room").hidden = false;
    $("room-name").textContent = topic;
    this.#draw();
  }

  // Handles presence.joined and presence.left.
  onEvent(name, data) {
    this.#people.set(data.user, name === "presence.joined");
    this.#draw();
  }

  #draw() {
    const present = [...this.#people].filter(([, isPresent]) => isPresent).map(([name]) => name);
    const names = [...new Set([this.user, ...present])];
    $("people").replaceChildren(...names.map((name) => {
      const item = create("li");
      const initial = create("span", "avatar", [...name][0].toUpperCase());
      initial.ariaHidden = "true";
      item.append(initial, create("span", "", name === this.user ? `${name} (you)` : name));
      return item;
    }));
  }
}
