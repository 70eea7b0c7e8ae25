// On a phone a table's row becomes a block whose cells name their columns: see extra.css.
for (const table of document.querySelectorAll(".md-typeset table:not([class])")) {
  const names = [...table.querySelectorAll("thead th")].map((cell) => cell.textContent);
  for (const row of table.querySelectorAll("tbody tr")) {
    [...row.cells].forEach((cell, index) => {
      if (index) cell.dataset.column = names[index] ?? "";
      if (!cell.textContent.trim()) cell.classList.add("empty");
    });
  }
  table.classList.add("rows");
}
