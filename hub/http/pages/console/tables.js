// Fills tables and lists with text. Text from users is inserted as text, never as markup, and its
// direction is that of its own letters. Cells and facts are replaced only if they have changed, so
// that the focus, a selection and a press survive a refresh. The focus follows a link that has moved.

import { create } from "./dom.js";

const shown = new WeakMap(); // the body of a table, or a list → what it shows

/** A cell: {text, names, href, className, title, level, isBlock}, or a text. isBlock: a text of its own,
 *  which begins at the right side if it is in Arabic or Hebrew. names: several texts in place of one; they
 *  keep their order, whatever the direction of each is. */
function fillCell(element, cell) {
  const { text = "", names, href, className = "", title = "", level, isBlock } = typeof cell === "object" ? cell : { text: cell };
  if (className) element.className = className;
  if (title) element.title = title;
  if (isBlock) element.dir = "auto";
  if (names) {
    element.append(...names.flatMap((name, index) => [...(index ? [", "] : []), create("bdi", "", name)]));
    return element;
  }
  const content = href ? Object.assign(create("a", "", text), { href, dir: "auto" }) : create("bdi", level ? "pill" : "", text);
  if (level) content.dataset.level = level;
  element.append(isBlock ? text : content); // a <bdi> does not count for the direction of its block
  return element;
}

// Returns a function that gives the focus to the new link if the one that has it now was replaced.
function focusIn(parent) {
  const { activeElement } = document;
  const isInside = parent.contains(activeElement);
  return () => {
    if (!isInside || activeElement.isConnected) return;
    [...parent.querySelectorAll("a")].find(({ href }) => href === activeElement.href)?.focus({ preventScroll: true });
  };
}

/** Shows these rows in the table with this id, or `emptyText` if there are none. */
export function fillTable(id, rows, emptyText) {
  const body = document.querySelector(`#${id} tbody`);
  const columns = body.parentElement.tHead.rows[0].cells.length;
  const cells = rows.length ? rows : [[{ text: emptyText, className: "empty" }]];
  const texts = cells.map((row) => row.map((cell) => JSON.stringify(cell ?? "")));
  const before = shown.get(body) ?? [];
  const restoreFocus = focusIn(body);
  texts.forEach((row, i) => {
    const element = body.rows[i] ?? body.insertRow();
    row.forEach((text, j) => {
      if (before[i]?.[j] === text) return;
      const cell = fillCell(create("td"), JSON.parse(text));
      if (j < element.cells.length) element.cells[j].replaceWith(cell);
      else element.append(cell);
    });
    while (element.cells.length > row.length) element.lastChild.remove();
    if (!rows.length) element.firstChild.colSpan = columns;
  });
  while (body.rows.length > texts.length) body.lastChild.remove();
  shown.set(body, texts);
  restoreFocus();
}

/** Shows facts in a list of descriptions. facts: [name, cell]; those without a text are left out. */
export function fillFacts(id, facts) {
  const list = document.getElementById(id);
  const texts = facts.filter(([, cell]) => (cell?.text ?? cell ?? "") !== "").map((fact) => JSON.stringify(fact));
  const before = shown.get(list) ?? [];
  const restoreFocus = focusIn(list);
  texts.forEach((text, i) => {
    if (before[i] === text) return;
    const [name, cell] = JSON.parse(text);
    const pair = create("div");
    pair.append(create("dt", "", name), fillCell(create("dd"), cell));
    if (i < list.children.length) list.children[i].replaceWith(pair);
    else list.append(pair);
  });
  while (list.children.length > texts.length) list.lastChild.remove();
  shown.set(list, texts);
  restoreFocus();
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
export const mono = (text) => ({ text, className: "mono", isBlock: true });
