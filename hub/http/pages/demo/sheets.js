// On a narrow screen, the chats and the activity are sheets above the conversation: a button opens
// one, and Escape, the backdrop or a chosen chat closes it. On a wide screen they are columns.

import { $ } from "./dom.js";

const isWide = matchMedia("(min-width: 64rem)");
const opener = { chats: "open-chats", side: "open-side" };
let open = null;

export function closeSheet() {
  if (!open) return;
  const button = $(opener[open]);
  const hadFocus = $(open).contains(document.activeElement);
  $(open).classList.remove("open");
  button.setAttribute("aria-expanded", "false");
  $("backdrop").hidden = true;
  open = null;
  if (hadFocus) button.focus();
}

function openSheet(id) {
  closeSheet();
  open = id;
  $(id).classList.add("open");
  $(opener[id]).setAttribute("aria-expanded", "true");
  $("backdrop").hidden = false;
  $(id).focus();
}

// onOpen(id): called after a sheet was opened.
export function startSheets(onOpen) {
  for (const [id, button] of Object.entries(opener)) {
    $(button).addEventListener("click", () => {
      if (open === id) return closeSheet();
      openSheet(id);
      onOpen(id);
    });
  }
  $("backdrop").addEventListener("click", closeSheet);
  isWide.addEventListener("change", closeSheet);
  addEventListener("keydown", (event) => { if (event.key === "Escape") closeSheet(); });
}
