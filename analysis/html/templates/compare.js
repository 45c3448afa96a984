"use strict";
(() => {
  const value = (row, column) => row.children[column].dataset.sort;

  function compare(first, second) {
    const numbers = [Number(first), Number(second)];
    if (first !== "" && second !== "" && numbers.every(Number.isFinite)) return numbers[0] - numbers[1];
    return first.localeCompare(second, "en", { numeric: true });
  }

  function sort(heading) {
    const body = heading.closest("table").tBodies[0];
    const column = heading.cellIndex;
    const sign = heading.ariaSort === "ascending" ? -1 : 1;
    const rows = [...body.rows].sort((a, b) => {
      const empty = (value(a, column) === "") - (value(b, column) === "");
      return empty || sign * compare(value(a, column), value(b, column));
    });
    for (const other of heading.parentElement.cells) other.ariaSort = "none";
    heading.ariaSort = sign > 0 ? "ascending" : "descending";
    body.append(...rows);
  }

  document.addEventListener("click", ({ target }) => {
    const button = target.closest(".sort");
    if (button) sort(button.closest("th"));
  });
})();
