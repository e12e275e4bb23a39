// The same user on a second device: the page once more in a frame, with a connection of its own.

import { $, create } from "./dom.js";

export const isSecondDevice = new URLSearchParams(location.search).has("device");

export function startDevices() {
  $("devices").hidden = isSecondDevice;
  $("toggle-device").addEventListener("click", toggle);
}

function toggle() {
  const isOpen = $("device").hidden;
  $("device").hidden = !isOpen;
  $("toggle-device").setAttribute("aria-expanded", String(isOpen));
  $("toggle-device").textContent = isOpen ? "Close the second device" : "Open a second device";
  document.body.classList.toggle("two-devices", isOpen);
  if (!isOpen) return $("device").replaceChildren(); // it disconnects
  const url = new URL(location.href);
  url.searchParams.set("device", "2");
  $("device").replaceChildren(Object.assign(create("iframe"), { src: url.href, title: "The same user on a second device" }));
}
