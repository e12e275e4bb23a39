// Rows of text into tables. What users wrote goes in as text, never as markup.

export function cell(value, className) {
  const made = document.createElement("td");
  if (value instanceof Node) made.append(value);
  else made.textContent = value ?? "";
  if (className) made.className = className;
  return made;
}

/** Puts the rows into the body of the table with this id; without any, it says `nothing`. */
export function fill(id, rows, nothing) {
  const body = document.querySelector(`#${id} tbody`);
  if (!rows.length) {
    const empty = cell(nothing, "quiet");
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

export function ago(unixSeconds) {
  const seconds = Math.max(0, Date.now() / 1000 - unixSeconds);
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

export const number = (value) => Math.round(value).toLocaleString("en");
export const milliseconds = (seconds) => (seconds === null ? "–" : `${(seconds * 1000).toFixed(1)} ms`);
