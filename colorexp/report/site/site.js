"use strict";
const root = document.documentElement, theme = document.getElementById("theme"), box = document.getElementById("box");
const stored = { get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
  set: (value) => { try { localStorage.setItem("theme", value); } catch { /* a browser that keeps nothing */ } } };
const isDark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
const label = () => { theme.textContent = isDark() ? "Light" : "Dark"; theme.setAttribute("aria-label", `${theme.textContent} theme`); };
if (["light", "dark"].includes(stored.get())) root.dataset.theme = stored.get();
theme.hidden = false;
label();
theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; stored.set(root.dataset.theme); label(); });

const key = (row, column) => { const cell = row.cells[column]; return cell.dataset.value ?? cell.textContent.trim(); };
const isMissing = (text) => text === "" || text === "–";
function compare(one, other) {
  const [a, b] = [Number(one), Number(other)];
  return Number.isNaN(a) || Number.isNaN(b) ? one.localeCompare(other, "en", { numeric: true }) : a - b;
}
function sort(heading, column) {
  const body = heading.closest("table").tBodies[0];
  const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const rows = [...body.rows].map((row) => [key(row, column), row]);
  const found = rows.filter(([text]) => !isMissing(text)).sort(([a], [b]) => sign * compare(a, b));
  body.append(...found.map(([, row]) => row), ...rows.filter(([text]) => isMissing(text)).map(([, row]) => row));
  for (const cell of heading.parentNode.cells) cell.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
}
for (const heading of document.querySelectorAll("table.sortable th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...heading.childNodes);
  heading.append(button);
  button.addEventListener("click", () => sort(heading, heading.cellIndex));
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a.zoom");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const [large, small] = [box.querySelector("img"), link.querySelector("img")];
  large.src = link.href;
  large.alt = small.alt;
  box.showModal();
});
box.addEventListener("click", () => box.close());
