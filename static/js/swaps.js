// A fragment that comes back as it was is not swapped: nothing flickers, loses focus or scrolls. Runs before all else.
const shown = new Map();  // id -> HTML as the server last sent it, in the browser's spelling
const spelled = document.createElement("template");

/** The token differs in every answer. */
function bare(html) {
  spelled.innerHTML = html;
  return spelled.innerHTML.replace(/name="csrfmiddlewaretoken" value="[^"]*"/g, "").trim();
}

// A list that has changed stays where it was scrolled to
const tops = new Map();
document.addEventListener("htmx:afterSwap", () => {
  for (const [id, top] of tops) { const list = document.getElementById(id); if (list) list.scrollTop = top; }
  tops.clear();
});

for (const element of document.querySelectorAll("[hx-trigger^='refresh']")) shown.set(element.id, bare(element.outerHTML));

document.addEventListener("htmx:beforeSwap", (event) => {
  const { target, xhr, requestConfig } = event.detail;
  if (xhr.responseURL && new URL(xhr.responseURL).pathname.startsWith("/sign-in")) {  // signed out in the meantime
    event.detail.shouldSwap = false;
    location.reload();
    return;
  }
  if (requestConfig.verb !== "get" || !target.id || xhr.status >= 300) return;
  const html = bare(xhr.responseText);
  if (shown.get(target.id) === html) event.detail.shouldSwap = false;
  shown.set(target.id, html);
  for (const list of event.detail.shouldSwap ? [target, ...target.querySelectorAll("[data-scrolls]")] : []) tops.set(list.id, list.scrollTop);
});

// A line that went dead must not hold a fragment for ever
const PATIENCE_MS = 15_000;
document.addEventListener("htmx:configRequest", ({ detail }) => { if (detail.verb === "get") detail.timeout = PATIENCE_MS; });

// A refresh that is asked for while a fragment is on its way comes once more after it: what comes may be older than the
// change, and htmx forgets what waits for an element that its own answer replaces.
const onTheirWay = new Set();
let again = false;

function isOneOnItsWay() {
  for (const element of onTheirWay) if (!element.isConnected) onTheirWay.delete(element);
  return onTheirWay.size > 0;
}
document.addEventListener("htmx:beforeSend", ({ target }) => {
  if (target.matches("[hx-trigger^='refresh']")) onTheirWay.add(target);
});
document.addEventListener("refresh", () => { again ||= isOneOnItsWay(); }, true);
document.addEventListener("htmx:afterRequest", ({ detail }) => {
  onTheirWay.delete(detail.elt);
  if (!again || isOneOnItsWay()) return;
  again = false;
  setTimeout(() => window.htmx.trigger(document.body, "refresh"));
});
