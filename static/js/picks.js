// Boxes that choose experiments to compare stay ticked while their table is renewed, sorted or turned over.
const form = document.querySelector("[data-picks]");
const picked = new Set();
const boxes = () => document.querySelectorAll("[data-pick]");

function show() {
  for (const box of boxes()) box.checked = picked.has(box.value);
  form.querySelector("[data-picked]").textContent = picked.size ? ` ${picked.size}` : "";
  form.querySelector("button").disabled = picked.size === 0;
  form.querySelector("[data-picks-hint]").hidden = picked.size > 0;
}

if (form) {
  for (const box of boxes()) if (box.checked) picked.add(box.value);
  document.addEventListener("change", ({ target }) => {
    if (!target.matches?.("[data-pick]")) return;
    if (target.checked) picked.add(target.value);
    else picked.delete(target.value);
    show();
  });
  form.addEventListener("submit", (event) => {  // also those on another page of the table
    event.preventDefault();
    location.assign(`${form.action}?e=${[...picked].join(",")}`);
  });
  document.addEventListener("htmx:afterSettle", show);
  show();
}
