// The button that chooses the light or the dark theme. theme.js applies the choice on the next visit.

import { $ } from "./dom.js";

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const root = document.documentElement;
const isDark = () => (root.dataset.theme ?? (prefersDark.matches ? "dark" : "light")) === "dark";

export function startThemeButton() {
  const show = () => $("theme").setAttribute("aria-pressed", String(isDark()));
  prefersDark.addEventListener("change", show);
  $("theme").addEventListener("click", () => {
    localStorage.setItem("hub.theme", (root.dataset.theme = isDark() ? "light" : "dark"));
    show();
  });
  show();
}
