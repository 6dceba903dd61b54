// The editor of program.md: Ctrl-S, a word when something is unsaved, and nothing that loses a text.
const form = document.querySelector("[data-brief]");
const editor = form.querySelector("textarea");
const state = form.querySelector("[data-brief-state]");
let saved = editor.getAttribute("aria-invalid") || form.querySelector("[role=alert]") ? null : editor.defaultValue;
let sent = null;

const isUnsaved = () => editor.value !== saved;

function say(text = isUnsaved() ? "Unsaved changes" : "") {
  if (state.textContent !== text) state.textContent = text;
  state.classList.toggle("warn", isUnsaved());
}

editor.addEventListener("input", () => say());
addEventListener("beforeunload", (event) => { if (isUnsaved() && sent === null) event.preventDefault(); });
addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() !== "s" || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
  event.preventDefault();
  form.requestSubmit();
});

form.addEventListener("submit", () => {
  sent = editor.value;
  say("Saving…");
  const token = document.cookie.match(/(?:^|; )autoresearch_csrf=([^;]+)/); // signing in again in another tab changed it
  if (token) form.elements.csrfmiddlewaretoken.value = token[1];
}, true);
document.addEventListener("htmx:afterRequest", ({ target }) => {
  if (target !== form) return;
  const answer = document.getElementById("brief-status");
  if (answer.hasAttribute("data-saved")) {
    saved = sent;
    answer.removeAttribute("data-saved");
  }
  window.htmx.trigger(document.body, "refresh"); // the list of versions: mine, or the one in my way
  editor.toggleAttribute("aria-invalid", false);
  if (answer.querySelector("[role=alert].bad")) editor.setAttribute("aria-invalid", "true");
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
    const answer = document.querySelector("#brief-status p");
    if (answer) answer.textContent = "Not saved: you are signed out. Sign in in another tab, then save here again.";
  } else if (mine && xhr.status === 409) {
    event.detail.shouldSwap = true; // a conflict: both texts, not a toast
    event.detail.isError = false;
  }
}, true);
