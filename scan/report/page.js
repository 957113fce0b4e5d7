"use strict";
const box = document.getElementById("search");
const only = document.querySelectorAll("input[data-severity]");
const rows = document.querySelectorAll("[data-text]");
const fresh = document.getElementById("fresh");
const shown = document.getElementById("shown");
function apply() {
  const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
  const severities = new Set([...only].filter((c) => c.checked).map((c) => c.dataset.severity));
  let n = 0;
  for (const row of rows) {
    const text = row.dataset.text.toLowerCase();
    row.hidden = !severities.has(row.dataset.worst) || !words.every((w) => text.includes(w)) || (fresh && fresh.checked && !("new" in row.dataset));
    if (!row.hidden) n++;
  }
  shown.textContent = n + " of " + rows.length + " shown";
}
if (box) {
  box.addEventListener("input", apply);
  for (const c of [...only, fresh]) if (c) c.addEventListener("change", apply);
  apply();
}
