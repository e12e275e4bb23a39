// The activity beside the conversation: notifications, requests of other users' answers, and how
// many of them are new.

import { $, announce, metaOf } from "./dom.js";
import { FactStore } from "./fact_store.js";
import { NotificationList } from "./notifications.js";
import { RequestList } from "./request_list.js";

export class Side {
  #receivedTimes = new FactStore("receivedTimes"); // cursor → when its event arrived

  // api: sends a notification to oneself. respond(generation, input, value): gives a value.
  constructor(api, { respond }) {
    this.notifications = new NotificationList($("notification-list"), {
      onAdd: (title, isNew) => {
        $("no-notifications").hidden = true;
        if (isNew) this.#showNew(`Notification: ${title}`);
      },
    });
    this.requests = new RequestList($("request-list"), {
      respond,
      onAdd: (prompt, requestedBy, isNew) => {
        $("requests").hidden = false;
        if (isNew) this.#showNew(`The answer for ${requestedBy} asks you: ${prompt}`);
      },
    });
    $("notify").hidden = metaOf("hub-dev") !== "true";
    $("notify").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#notify(api);
    });
  }

  // Handles an event that is no system event.
  addNotification({ name, data, cursor, replayed }) {
    if (!replayed) this.#receivedTimes.put(cursor, Date.now());
    const receivedAt = this.#receivedTimes.get(cursor) ?? (replayed ? undefined : Date.now());
    this.notifications.add(name, data, receivedAt, !replayed);
  }

  // The user has seen all.
  clearUnread() {
    this.#showUnread(0);
  }

  #showNew(text) {
    announce(text);
    if (getComputedStyle($("side")).visibility === "hidden") this.#showUnread(Number($("unread").textContent) + 1);
  }

  #showUnread(count) {
    $("unread").textContent = count || "";
    $("unread").hidden = !count;
    $("open-side").ariaLabel = count ? `Activity, ${count} new` : "Activity";
  }

  // The field is empty at once: for the next text, and so that a second Enter sends nothing.
  async #notify(api) {
    const field = $("notify-text");
    const title = field.value.trim();
    field.value = "";
    let error = "";
    try {
      if (title) await api.notify(title);
    } catch (reason) {
      error = reason.message;
      field.value ||= title;
    }
    $("notify-error").textContent = error;
    $("notify-error").hidden = !error;
  }
}
