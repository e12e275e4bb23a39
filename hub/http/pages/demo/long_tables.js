// Long tables. A browser lays out a table as a whole, so a long one becomes a block whose rows are grids
// with the same columns, in bodies of a few rows: then only the rows in view, and the new ones, cost
// something. Its roles keep it one table for screen readers, whatever `display` says (answer.css).

const BODY_ROWS = 20;
const ROLES = { table: "table", thead: "rowgroup", tbody: "rowgroup", tr: "row", th: "columnheader", td: "cell" };

// Removes the rows that the first body does not have room for, and returns them. table: not shown yet.
export function takeLaterRows(table) {
  const rows = [...(table.tBodies[0]?.rows ?? [])].slice(BODY_ROWS);
  for (const row of rows) row.remove();
  return rows;
}

// Appends rows to a table that is shown. box: the element that contains the table.
export function appendRows(box, rows) {
  const table = box.firstElementChild;
  const lastBody = () => table.tBodies[table.tBodies.length - 1];
  while (table.tBodies.length > 1 && !lastBody().rows.length) lastBody().remove(); // its rows were removed
  for (const row of rows) {
    let body = lastBody();
    if (!body || body.rows.length >= BODY_ROWS) {
      if (!table.classList.contains("long")) fixColumns(box, table);
      body = table.appendChild(document.createElement("tbody"));
      setRoles(body);
    }
    if (table.classList.contains("long")) [row, ...row.cells].forEach(setRoles);
    body.append(row);
  }
}

// The columns keep the widths that the first rows have given them.
function fixColumns(box, table) {
  const widths = [...table.tHead.rows[0].cells].map((cell) => Math.ceil(cell.getBoundingClientRect().width) || 1);
  if (table.offsetWidth > box.clientWidth) table.style.minWidth = `${table.offsetWidth}px`;
  table.style.setProperty("--columns", widths.map((width) => `minmax(0, ${width}fr)`).join(" "));
  table.classList.add("long");
  [table, ...table.querySelectorAll("thead, tbody, tr, th, td")].forEach(setRoles);
}

function setRoles(element) {
  element.setAttribute("role", ROLES[element.localName]);
}
