// Columns sort by a click or the keyboard, and a printed page shows what is folded.
const value = (row, place) => row.cells[place].textContent.trim();
const missing = (text) => text === "-" || text === "";

function compare(a, b) {
  const numbers = [a, b].map((text) => Number(text.replace("%", "") || NaN));
  if (numbers.every((x) => !Number.isNaN(x))) return numbers[0] - numbers[1];
  return a.localeCompare(b, undefined, { numeric: true });
}

function sort(table, head, place) {
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows];
  rows.sort((one, two) => {
    const [a, b] = [value(one, place), value(two, place)];
    return missing(a) - missing(b) || (down ? -1 : 1) * compare(a, b);
  });
  table.tBodies[0].append(...rows);
}

for (const table of document.querySelectorAll("table")) {
  [...table.tHead.rows[0].cells].forEach((head, place) => {
    const button = document.createElement("button");
    button.textContent = head.textContent;
    button.addEventListener("click", () => sort(table, head, place));
    head.replaceChildren(button);
  });
}

let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const part of opened) part.open = true;
});
addEventListener("afterprint", () => {
  for (const part of opened) part.open = false;
});
