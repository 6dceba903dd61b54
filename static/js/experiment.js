// The experiment page: dialogs close, and a fragment that somebody is reading or typing in waits with its refresh.
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-closes]")) event.target.closest("dialog").close();
});

/** A dialog open, a prompt unfolded, a reason half written, a chart drawn, text being selected. */
function isInUse(element) {
  if (element.querySelector("dialog[open], details[open], textarea:focus, input:focus, .js-plotly-plot")) return true;
  const selection = getSelection();
  return !selection.isCollapsed && element.contains(selection.anchorNode);
}

document.addEventListener("htmx:beforeSwap", (event) => {
  const { target, requestConfig } = event.detail;
  if (requestConfig.verb !== "get" || requestConfig.elt !== target || !isInUse(target)) return;  // another view of the diff was asked for: it comes
  event.detail.shouldSwap = false;
  event.stopImmediatePropagation(); // page.js does not take it for shown: the next refresh brings it
}, true);

// A dialog that was closed: what changed meanwhile comes now
document.addEventListener("close", () => window.htmx?.trigger(document.body, "refresh"), true);
