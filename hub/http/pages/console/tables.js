// Fills tables with text. Text from users is inserted as text, never as markup.

export function cell(value, className) {
  const element = document.createElement("td");
  if (value instanceof Node) element.append(value);
  else element.textContent = value ?? "";
  if (className) element.className = className;
  return element;
}

/** Replaces the rows of the table with this id. Shows `emptyText` if there are no rows. */
export function fillTable(id, rows, emptyText) {
  const body = document.querySelector(`#${id} tbody`);
  if (!rows.length) {
    const empty = cell(emptyText, "quiet");
    empty.colSpan = document.querySelectorAll(`#${id} th`).length;
    rows = [[empty]];
  }
  body.replaceChildren(
    ...rows.map((values) => {
      const row = document.createElement("tr");
      row.append(...values.map((value) => (value instanceof HTMLTableCellElement ? value : cell(value))));
      return row;
    }),
  );
}

/** Formats the time since a Unix time in seconds. */
export function formatAge(unixSeconds) {
  const seconds = Math.max(0, Date.now() / 1000 - unixSeconds);
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

export const formatNumber = (value) => Math.round(value).toLocaleString("en");
export const formatMilliseconds = (seconds) => (seconds === null ? "–" : `${(seconds * 1000).toFixed(1)} ms`);
