// On a phone a table's row becomes a block whose cells name their columns: see extra.css. Short cells
// share a line.
for (const table of document.querySelectorAll(".md-typeset table:not([class])")) {
  const names = [...table.querySelectorAll("thead th")].map((cell) => cell.textContent);
  for (const row of table.querySelectorAll("tbody tr")) {
    [...row.cells].forEach((cell, index) => {
      const text = cell.textContent.trim();
      if (index) cell.dataset.column = names[index] ?? "";
      if (!text) cell.classList.add("empty");
      else if (index && text.length <= 16 && text.length + (names[index] ?? "").length <= 40) cell.classList.add("short");
    });
  }
  table.classList.add("rows");
}
