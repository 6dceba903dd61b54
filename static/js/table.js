// The table of experiments: it stays as a person left it while the page lives on.
import { onElements } from "./stream.js";

const KEY = "run-columns";
const search = document.getElementById("search");
const columns = document.querySelector("[data-columns]");

// Ticked boxes and the place in a wide table outlive a swap; also on another page of the table
const ticked = new Set();
let left = 0;
document.addEventListener("change", ({ target }) => {
  if (target.matches?.("#table [data-pick]")) ticked[target.checked ? "add" : "delete"](target.value);
});
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (detail.target.id === "table") left = detail.target.querySelector("[data-scroll]")?.scrollLeft ?? 0;
});
onElements("#table", (table) => {
  for (const box of table.querySelectorAll("[data-pick]")) if (ticked.has(box.value)) box.checked = true;
  table.querySelector("[data-scroll]").scrollLeft = left;
});

// What is typed narrows the rows at once; the server's answer, a moment later, has searched all of them
const box = document.getElementById("q");
let before = box?.value ?? "";
box?.addEventListener("input", () => {
  const words = box.value.trim().toLowerCase();
  if (words.startsWith(before) && words.length > 1) {
    for (const row of document.querySelectorAll("#table tbody tr[id]")) row.hidden = !row.textContent.toLowerCase().includes(words);
  }
  before = words;
});

// The columns somebody chose are theirs on every run; an address that names columns wins
const boxes = () => [...columns.querySelectorAll("input[type=checkbox]")];
const spelled = () => boxes().filter((input) => input.checked).map((input) => input.value).join();
const store = (value) => { try { localStorage.setItem(KEY, value); } catch { /* private window */ } };
const stored = () => { try { return localStorage.getItem(KEY); } catch { return null; } };
if (columns && search) {
  columns.querySelector("button").hidden = true;
  columns.addEventListener("change", () => store(spelled()));
  const wanted = stored();
  if (wanted !== null && wanted !== spelled() && !new URLSearchParams(location.search).has("cols")) {
    for (const input of boxes()) input.checked = wanted.split(",").includes(input.value);
    addEventListener("DOMContentLoaded", () => window.htmx?.trigger(search, "submit"));  // before it, htmx hears nothing
  }
}
