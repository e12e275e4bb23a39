// Tests the service worker of push notifications with a fake of its global scope.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import vm from "node:vm";

const SOURCE = readFileSync(new URL("../../hub/http/pages/hub-sw.js", import.meta.url), "utf8");

// Loads the worker and shows one push. Returns the options of the notification.
async function show(payload) {
  const listeners = {}, shown = [], waits = [];
  const self = {
    location: { origin: "https://app.example", hostname: "app.example" },
    addEventListener: (name, listener) => (listeners[name] = listener),
    registration: {
      getNotifications: async () => [],
      showNotification: async (title, options) => shown.push({ title, ...options }),
    },
  };
  vm.runInNewContext(SOURCE, { self, URL });
  listeners.push({ data: { json: () => payload }, waitUntil: (done) => waits.push(done) });
  await Promise.all(waits);
  return shown[0];
}

test("a notification without an icon has none, and one with an icon has its URL", async () => {
  assert.equal((await show({ title: "T" })).icon, undefined);
  assert.equal((await show({ title: "T", icon: "" })).icon, undefined);
  assert.equal((await show({ title: "T", icon: "/i.png" })).icon, "https://app.example/i.png");
  assert.equal((await show({ title: "T", icon: "data:image/png;base64,x" })).icon, undefined);
});

test("a payload that cannot be read still shows something", async () => {
  for (const payload of [null, 5, [], {}, { title: 5 }]) assert.equal((await show(payload)).title, "app.example");
});
