// A manual experiment: editors over the files, the diff a moment after the last key, and no text lost by leaving.
const form = document.querySelector("[data-manual]");
const fields = [...form.querySelectorAll("textarea[data-editor]")];
const known = new Map(fields.map((field) => [field, form.querySelector("[role=alert]") ? null : field.defaultValue]));
let timer = null;
let leaving = false;

import("./editor.js").then(({ edit }) => fields.forEach(edit));

function look() {
  window.htmx.ajax("POST", form.getAttribute("action"), {
    source: document.getElementById("changes"), target: "#changes", swap: "outerHTML",
    values: { ...Object.fromEntries(new FormData(form)), step: "diff" },
  });
}

form.addEventListener("input", ({ target }) => {
  if (!fields.includes(target)) return;
  clearTimeout(timer);
  timer = setTimeout(look, 500);
});
form.addEventListener("submit", () => { leaving = true; });
addEventListener("pageshow", () => { leaving = false; });
addEventListener("beforeunload", (event) => {
  if (!leaving && fields.some((field) => field.value !== known.get(field))) event.preventDefault();
});
addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() !== "s" || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
  event.preventDefault(); // not the browser's "save the page"
  look();
});
