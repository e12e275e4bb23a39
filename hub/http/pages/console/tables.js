// Fills tables and lists with text. Text from users is inserted as text, never as markup. Rows are
// replaced only if they have changed, so that the focus, a selection and a press survive a refresh.

import { create } from "./dom.js";

const shown = new WeakMap(); // the body of a table → what it shows

/** A cell: {text, href, className, title}, or a text. */
function createCell(cell) {
  const { text, href, className = "", title = "", level } = typeof cell === "object" && cell !== null ? cell : { text: cell };
  const element = create("td", className);
  const content = href ? Object.assign(create("a", "", text), { href }) : level ? create("span", "pill", text) : text ?? "";
  if (level) content.dataset.level = level;
  if (title) element.title = title;
  element.append(content);
  return element;
}

/** Shows these rows in the table with this id, or `emptyText` if there are none. */
export function fillTable(id, rows, emptyText) {
  const body = document.querySelector(`#${id} tbody`);
  const columns = body.parentElement.tHead.rows[0].cells.length;
  const texts = (rows.length ? rows : [[{ text: emptyText, className: "empty" }]]).map((row) => JSON.stringify(row));
  const before = shown.get(body) ?? [];
  texts.forEach((text, i) => {
    if (before[i] === text) return;
    const row = create("tr");
    row.append(...JSON.parse(text).map(createCell));
    if (!rows.length) row.firstChild.colSpan = columns;
    if (i < body.rows.length) body.rows[i].replaceWith(row);
    else body.append(row);
  });
  while (body.rows.length > texts.length) body.lastChild.remove();
  shown.set(body, texts);
}

/** Shows facts in a list of descriptions. facts: [name, cell]; those without a text are left out. */
export function fillFacts(id, facts) {
  const list = document.getElementById(id);
  const text = JSON.stringify(facts);
  if (shown.get(list) === text) return;
  shown.set(list, text);
  list.replaceChildren(...facts.filter(([, cell]) => (cell?.text ?? cell ?? "") !== "").map(([name, cell]) => {
    const pair = create("div");
    const value = create("dd", cell.className ?? "");
    value.append(cell.href ? Object.assign(create("a", "", cell.text), { href: cell.href }) : cell.text ?? cell);
    if (cell.title) value.title = cell.title;
    pair.append(create("dt", "", name), value);
    return pair;
  }));
}

/** Shows buttons that turn pages. buttons: [text, whether it is enabled, function]. */
export function fillPager(id, text, buttons) {
  const pager = document.getElementById(id);
  if (!pager.firstChild) {
    pager.append(create("span"), ...buttons.map(([label], i) => {
      const button = Object.assign(create("button", "", label), { type: "button" });
      button.addEventListener("click", () => pager.actions[i]());
      return button;
    }));
  }
  pager.actions = buttons.map(([, , action]) => action);
  pager.firstChild.textContent = text;
  buttons.forEach(([, isEnabled], i) => { pager.children[i + 1].disabled = !isEnabled; });
  pager.hidden = !text && buttons.every(([, isEnabled]) => !isEnabled);
}

export const number = (text, title) => ({ text, className: "number", title });
export const mono = (text) => ({ text, className: "mono" });
