// The service worker of push notifications: it shows what the hub pushes and opens its URL on a
// click. hub.js registers it; a worker of your own loads it with importScripts.
"use strict";

(() => {
  const MAX_TITLE_CHARS = 1000;

  // The payload of the hub (hub/core/push_message.py). A push without one still shows something,
  // because browsers end the permission of a page that shows nothing.
  function readPayload(data) {
    try {
      const payload = data.json();
      if (typeof payload?.title === "string" && payload.title) return payload;
    } catch { /* not JSON, or no data */ }
    return { title: self.location.hostname };
  }

  const textOf = (value) => (typeof value === "string" && value ? value : undefined);

  // The absolute URL of a text, which is relative to this origin; null without one, or unless it is http or https.
  function resolveUrl(text) {
    if (!text) return null; // new URL(undefined, origin) is origin + "/undefined"
    try {
      const url = new URL(text, self.location.origin);
      return url.protocol === "http:" || url.protocol === "https:" ? url : null;
    } catch {
      return null;
    }
  }

  async function show(data) {
    const payload = readPayload(data);
    const id = textOf(payload.id) ?? null;
    const tag = textOf(payload.tag) ?? id ?? "hub";
    const shown = await self.registration.getNotifications({ tag });
    // After a crash the hub may send a push again: it replaces the first one without a sound.
    const isRepeated = id !== null && shown.some((each) => each.data?.hub?.id === id);
    await self.registration.showNotification(payload.title.slice(0, MAX_TITLE_CHARS), {
      body: textOf(payload.body),
      icon: resolveUrl(textOf(payload.icon))?.href,
      tag,
      renotify: !isRepeated,
      silent: isRepeated || undefined,
      data: { hub: { id, url: textOf(payload.url) ?? null } },
    });
  }

  // Focuses a tab that shows the URL, or opens it. Without a URL, focuses any tab of this origin.
  async function open(text) {
    const target = text === null ? null : resolveUrl(text);
    const tabs = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
    const tab = target === null ? tabs[0] : tabs.find((each) => each.url === target.href);
    if (tab) await tab.focus();
    else await self.clients.openWindow(target?.href ?? self.location.origin);
  }

  // The browser has replaced the subscription. Only a page has the user's token: it tells the hub.
  async function renew(event) {
    const key = event.oldSubscription?.options?.applicationServerKey;
    if (key) {
      await self.registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
    }
    const tabs = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
    for (const tab of tabs) tab.postMessage({ type: "hub.push.changed" });
  }

  self.addEventListener("push", (event) => event.waitUntil(show(event.data)));
  self.addEventListener("pushsubscriptionchange", (event) => event.waitUntil(renew(event)));
  self.addEventListener("notificationclick", (event) => {
    const opened = event.notification.data?.hub;
    if (!opened) return; // a notification of the page's own worker
    event.notification.close();
    event.waitUntil(open(opened.url));
  });
})();
