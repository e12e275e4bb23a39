// Copies text, and says so: in the label of the button, and to screen readers.

import { announce } from "./dom.js";

const LABEL_MS = 1500;

// label: the element whose text says what happened.
export async function copyText(text, label) {
  const originalText = (label.dataset.label ??= label.textContent);
  try {
    await navigator.clipboard.writeText(text);
    label.textContent = "Copied";
    announce("Copied.");
  } catch {
    label.textContent = "Not allowed"; // by the browser; the text can still be selected
  }
  setTimeout(() => (label.textContent = originalText), LABEL_MS);
}
