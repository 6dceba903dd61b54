// What every page does: relative times, dialogs, one submit at a time, errors as toasts, keys.
import "./swaps.js";
import "./keys.js";
import "./times.js";

const toasts = document.querySelector("[data-toasts]");

export function toast(text, kind = "error") {
  const line = document.createElement("p");
  line.className = `message ${kind}`;
  line.textContent = text;
  toasts.replaceChildren(line);
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => line.remove(), kind === "error" ? 12000 : 6000);
}
document.addEventListener("said", ({ detail }) => toast(detail.text, "success"));  // what a click has done

// Dialogs, and menus that close on a click elsewhere
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  const dialog = opener && document.getElementById(opener.dataset.opens);
  if (opener) event.preventDefault();
  if (dialog) {
    dialog.querySelector("[hx-trigger^='opened'] ~ form")?.reset();  // it may be hours old, and is fetched afresh
    dialog.showModal();
    window.htmx?.trigger(dialog, "opened");
  }
  if (event.target.closest("[data-closes]")) event.target.closest("dialog")?.close();
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target) || opener) menu.open = false;
  }
});
const isTouched = (form) => [...form.elements ?? []].some((field) => field.defaultValue !== undefined && field.value !== field.defaultValue);
document.addEventListener("htmx:beforeSwap", (event) => {  // who types faster than the fresh form comes keeps what they typed
  const { target } = event.detail;
  if (isRefresh(event) && target.closest("dialog[open]") && isTouched(target)) event.detail.shouldSwap = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
});

const isRefresh = (event) => event.detail.requestConfig?.verb === "get";

// A second click on a form that is on its way does nothing
const release = (form) => {
  delete form.dataset.busy;
  for (const button of form.querySelectorAll("[data-held]")) { button.disabled = false; delete button.dataset.held; }
};
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.dataset.busy) { event.preventDefault(); event.stopImmediatePropagation(); return; }
  form.dataset.busy = "1";
  setTimeout(() => {  // after the browser and htmx have read the form
    if (!form.dataset.busy) return;
    for (const button of form.querySelectorAll("button:not(:disabled)")) { button.disabled = true; button.dataset.held = ""; }
  });
}, true);
addEventListener("pageshow", () => document.querySelectorAll("form[data-busy]").forEach(release));
document.addEventListener("htmx:afterRequest", (event) => {
  const form = event.detail.elt;
  if (form.matches("form[data-busy]")) release(form);
  const isDone = event.detail.xhr.status >= 200 && event.detail.xhr.status < 300;
  if (isDone && !isRefresh(event)) form.closest("dialog")?.close();  // a GET has only brought its form up to date
});

// Errors of what a person asked for; a fragment that fails to refresh is live.js's business. Heard of the request itself: the
// events of htmx are lost with a form that is swapped away meanwhile
document.addEventListener("htmx:beforeSend", (event) => {
  const { xhr, elt } = event.detail;
  xhr.addEventListener("load", () => {
    if (xhr.status < 400 || xhr.status === 422) return;
    if (event.detail.failed === false) return;  // who sent it says it in a place of its own, as the brief does
    elt.closest("dialog")?.close();  // a dialog would cover the toast
    if (isRefresh(event)) return;
    toast(xhr.status === 409 ? xhr.responseText : `The server refused this (${xhr.status}). Reload the page and try again.`);
    if (xhr.status === 409) window.htmx.trigger(document.body, "refresh");
  });
  xhr.addEventListener("error", () => {
    if (!isRefresh(event)) toast("The server did not answer. Try again in a moment: nothing is ever done twice.");
  });
});
