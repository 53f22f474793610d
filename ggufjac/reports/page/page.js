"use strict";
// an element with its properties and children: text stays text
const make = (name, given = {}, ...children) => {
  const element = Object.assign(document.createElement(name), given);
  element.append(...children);
  return element;
};
(() => {
  // light or dark: the system's choice until the button says otherwise; a page in a file may have no storage
  const root = document.documentElement, button = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const stored = (value) => {
    try {
      return value === undefined ? localStorage.getItem("ggufjac.theme") : localStorage.setItem("ggufjac.theme", value);
    } catch {
      return null;
    }
  };
  const theme = () => root.dataset.theme ?? (dark.matches ? "dark" : "light");
  const show = () => {
    const paper = getComputedStyle(document.querySelector(".ggufjac")).getPropertyValue("--paper");
    root.style.background = paper;
    root.style.colorScheme = theme();
    button.textContent = theme() === "dark" ? "☀" : "☾";
    button.setAttribute("aria-label", theme() === "dark" ? "switch to light" : "switch to dark");
  };
  if (["light", "dark"].includes(stored())) root.dataset.theme = stored();
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = theme() === "dark" ? "light" : "dark";
    stored(root.dataset.theme);
    show();
  });
  dark.addEventListener("change", show);
  show();

  // sorting: up, down, and as it was; what has no value stays last
  const key = (row, column) => {
    const cell = row.cells[column];
    if (cell === undefined) return null;
    if (cell.dataset.v !== undefined) return Number.parseFloat(cell.dataset.v);
    const shown = cell.querySelector(".carded")?.firstChild ?? cell;
    return shown.textContent.trim() || null;
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b));
  };
  const missing = (value) => value === null || Number.isNaN(value);
  const sort = (heading) => {
    const table = heading.closest("table"), body = table.tBodies[0], column = heading.cellIndex;
    body.original ??= [...body.rows];
    const first = heading.classList.contains("num") ? "descending" : "ascending";
    const second = first === "ascending" ? "descending" : "ascending";
    const way = { none: first, [first]: second, [second]: "none" }[heading.getAttribute("aria-sort")];
    for (const other of table.tHead.rows[0].cells) {
      if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
    }
    heading.setAttribute("aria-sort", way);
    const rows = [...body.original];
    if (way !== "none") {
      const keys = new Map(rows.map((row) => [row, key(row, column)]));
      const turn = way === "ascending" ? 1 : -1;
      rows.sort((a, b) => {
        const x = keys.get(a), y = keys.get(b);
        if (missing(x) || missing(y)) return missing(x) - missing(y);
        return turn * compare(x, y);
      });
    }
    body.append(...rows);
    // a long table that is not opened shows the first of this order; as it was, those that it showed before
    const rest = body.rest ??= new Set(body.original.filter((row) => row.classList.contains("rest")));
    const shown = rows.length - rest.size;
    rows.forEach((row, i) => row.classList.toggle("rest", way === "none" ? rest.has(row) : i >= shown));
  };
  for (const heading of document.querySelectorAll("th[aria-sort] > button")) {
    heading.addEventListener("click", () => sort(heading.parentElement));
  }

  // cards: below what they belong to, or above where there is no room, and always inside the window
  const place = (owner) => {
    const card = owner.querySelector(":scope > .tip");
    delete owner.dataset.closed;
    if (card === null) return;
    const at = owner.getBoundingClientRect(), size = card.getBoundingClientRect(), edge = 8;
    const left = Math.max(edge, Math.min(at.left, root.clientWidth - size.width - edge));
    const below = at.bottom + 4, above = at.top - size.height - 4;
    card.style.margin = 0;
    card.style.left = `${left}px`;
    card.style.top = `${below + size.height > root.clientHeight - edge && above > edge ? above : below}px`;
  };
  for (const kind of ["pointerover", "focusin"]) {
    document.addEventListener(kind, (event) => {
      const owner = event.target.closest?.(".carded");
      if (owner) place(owner);
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const owner of document.querySelectorAll(".carded:is(:hover, :focus)")) owner.dataset.closed = "";
  });
  document.addEventListener("scroll", (event) => {
    const owner = document.querySelector(".carded:hover, .carded:focus");
    if (owner && event.target.contains(owner)) place(owner);
  }, { capture: true, passive: true });
})();
