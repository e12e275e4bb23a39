// Shows a table as a list if the screen is too narrow for it. Each cell gets the heading of its column as a label.
const tables = [...document.querySelectorAll(".md-typeset table:not([class])")];
const phone = matchMedia("(width < 48em)");

for (const table of tables) {
  const headings = [...table.querySelectorAll("thead th")].map((heading) => heading.textContent.trim());
  for (const row of table.querySelectorAll("tbody tr")) {
    [...row.cells].slice(1).forEach((cell, index) => {
      if (headings[index + 1] && cell.textContent.trim()) cell.dataset.label = headings[index + 1];
    });
  }
}

function fitTables() {
  for (const table of tables) {
    table.removeAttribute("data-narrow");
    const space = table.closest(".md-typeset__scrollwrap") ?? table.parentElement;
    table.toggleAttribute("data-narrow", phone.matches || table.scrollWidth > space.clientWidth);
  }
}

fitTables();
addEventListener("load", fitTables); // the theme has put the tables into their frames
addEventListener("resize", fitTables);
