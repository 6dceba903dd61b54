// program.md: Ctrl-S, a word when something is unsaved, a merge when two have edited it, and nothing that loses a text.
const form = document.querySelector("[data-brief]");
const field = form.querySelector("textarea[data-editor]");
const state = form.querySelector("[data-brief-state]");
let saved = field.getAttribute("aria-invalid") || form.querySelector("[role=alert]") ? null : field.defaultValue;
let sent = null;
let editor = null;
let tools = null;

const isUnsaved = () => field.value !== saved;
const status = () => document.getElementById("brief-status");

function say(text = isUnsaved() ? "Unsaved changes" : "") {
  if (state.textContent !== text) state.textContent = text;
  state.classList.toggle("warn", isUnsaved());
}

/** The one editor, or theirs beside mine where the answer asks for a merge. */
function arrange() {
  const asked = status().querySelector("[data-merge]");
  const view = asked?.querySelector("[data-merge-view]");
  form.classList.toggle("merging", Boolean(asked));
  if (asked && !view.firstChild) {
    const mine = tools.merge(view, asked.querySelector("textarea").value, field, [asked.dataset.theirs, "Yours"]);
    asked.classList.add("ready");
    asked.querySelector("[data-merge-theirs]").onclick = () => tools.setText(mine, asked.querySelector("textarea").value);
  }
  if (!asked) tools.setText(editor, field.value);
}

import("./editor.js").then((module) => {
  tools = module;
  editor = tools.edit(field);
  arrange();
});

field.addEventListener("input", () => say());
addEventListener("beforeunload", (event) => { if (isUnsaved() && sent === null) event.preventDefault(); });
addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() !== "s" || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
  event.preventDefault();
  form.requestSubmit();
});

form.addEventListener("submit", () => {
  sent = field.value;
  say("Saving…");
  const token = document.cookie.match(/(?:^|; )autoresearch_csrf=([^;]+)/); // signing in again in another tab changed it
  if (token) form.elements.csrfmiddlewaretoken.value = token[1];
}, true);
document.addEventListener("htmx:afterRequest", ({ target }) => {
  if (target !== form) return;
  const answer = status();
  if (answer.hasAttribute("data-saved")) {
    saved = sent;
    answer.removeAttribute("data-saved");
  }
  if (tools) arrange();
  window.htmx.trigger(document.body, "refresh"); // the list of versions: mine, or the one in my way
  field.toggleAttribute("aria-invalid", false);
  if (answer.querySelector("[role=alert].bad")) field.setAttribute("aria-invalid", "true");
  sent = null;
  say();
});

document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr, requestConfig } = event.detail;
  const mine = requestConfig.elt === form;
  const signedOut = (mine && xhr.status === 403) || (xhr.responseURL && new URL(xhr.responseURL).pathname.startsWith("/sign-in"));
  if (signedOut && isUnsaved()) { // page.js would load the sign-in page over the text
    event.stopImmediatePropagation();
    event.detail.shouldSwap = event.detail.isError = false;
    const answer = status().querySelector("p");
    if (answer) answer.textContent = "Not saved: you are signed out. Sign in in another tab, then save here again.";
  } else if (mine && xhr.status === 409) {
    event.detail.shouldSwap = true; // a conflict: both texts, not a toast
    event.detail.isError = false;
  }
}, true);
