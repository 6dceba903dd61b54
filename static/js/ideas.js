// The queue of ideas: dragged by its grip; what somebody edits stays while the page goes on living around it.
import { onElements } from "./stream.js";

let dragged = null;

const itemUnder = (event, list) => event.target.closest?.("[data-idea]") ?? list.lastElementChild;
const items = (list) => [...list.querySelectorAll("[data-idea]")];

function send(list, item) {
  window.htmx.ajax("POST", list.dataset.ideas, {
    source: list, swap: "none",
    values: { idea: item.dataset.idea, to: items(list).indexOf(item), csrfmiddlewaretoken: item.querySelector("[name=csrfmiddlewaretoken]").value },
  });
}

onElements("[data-grip]", (grip) => {
  const item = grip.closest("[data-idea]");
  const list = grip.closest("[data-ideas]");
  grip.hidden = false;
  grip.draggable = true;
  grip.addEventListener("dragstart", (event) => {
    dragged = item;
    dragged.from = items(list).indexOf(item);
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setData("text/plain", item.querySelector(".note-text").textContent);
    event.dataTransfer.setDragImage(item, 12, 12);
    item.classList.add("dragged");
  });
  grip.addEventListener("dragend", (event) => {
    item.classList.remove("dragged");
    dragged = null;
    const order = items(list);
    if (event.dataTransfer.dropEffect === "none") list.insertBefore(item, order.filter((other) => other !== item)[item.from] ?? null);  // let go elsewhere
    else if (order.indexOf(item) !== item.from) send(list, item);
  });
});
onElements("[data-ideas]", (list) => {
  list.addEventListener("dragover", (event) => {
    if (!dragged || dragged.parentNode !== list) return;
    event.preventDefault();
    const over = itemUnder(event, list);
    if (!over || over === dragged) return;
    const { top, height } = over.getBoundingClientRect();
    list.insertBefore(dragged, event.clientY < top + height / 2 ? over : over.nextSibling);
  });
  list.addEventListener("drop", (event) => { if (dragged) event.preventDefault(); });
});

// A fragment does not come over an open editor or a drag: it is fetched again when that is done.
const busy = (target) => dragged?.isConnected && target.contains(dragged) || target.querySelector?.("[data-editing][open]");
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.requestConfig.verb !== "get" || !busy(event.detail.target)) return;
  event.preventDefault();
  event.stopPropagation();  // swaps.js must not take it for shown
}, true);
document.addEventListener("toggle", (event) => {
  if (event.target.matches?.("[data-editing]") && !event.target.open) window.htmx?.trigger(document.body, "refresh");
}, true);
document.addEventListener("htmx:afterRequest", (event) => {
  const editor = event.detail.elt.closest?.("[data-editing]");
  if (editor && event.detail.successful) editor.open = false;
});

// A button that was pressed is off while its form is on its way, or for good at the top and the bottom: the focus comes back
let pressed = "";
document.addEventListener("click", ({ target }) => { pressed = target.closest?.(".ideas .idea-tools button")?.id ?? ""; });
document.addEventListener("htmx:afterSettle", ({ target }) => {
  const button = pressed && target.id === "ideas" && document.getElementById(pressed);
  if (!button || document.activeElement !== document.body) return;
  (button.disabled ? button.parentNode.querySelector("button:not(:disabled)") : button)?.focus({ preventScroll: true });
});

// What was unfolded stays so
const unfolded = new Set();
document.addEventListener("toggle", ({ target }) => {
  if (target.dataset?.folds) unfolded[target.open ? "add" : "delete"](target.dataset.folds);
}, true);
onElements("[data-folds]", (details) => { if (unfolded.has(details.dataset.folds)) details.open = true; });
