// The preview beside the editor: rendered by the server a moment after the last key, shown or hidden by a button.
const area = document.querySelector("[data-preview]");
const field = document.getElementById("brief-text");
const button = document.querySelector("[data-preview-switch]");
const wide = matchMedia("(min-width: 1100px)");
let timer = null;
let shown = null;

const remembered = () => { try { return localStorage.getItem("preview"); } catch { return null; } };
const remember = (value) => { try { localStorage.setItem("preview", value); } catch { /* private window: this page only */ } };

function show(on) {
  area.classList.toggle("split", on);
  button.setAttribute("aria-pressed", on);
  if (on) render();
}

function render() {
  if (!area.classList.contains("split") || shown === field.value) return;
  shown = field.value;
  const target = document.getElementById("brief-preview");
  const values = { text: shown, csrfmiddlewaretoken: field.form.elements.csrfmiddlewaretoken.value };
  window.htmx.ajax("POST", area.dataset.preview, { source: target, target, swap: "outerHTML", values });
}

shown = field.defaultValue;
button.hidden = false;
button.addEventListener("click", () => {
  const on = !area.classList.contains("split");
  remember(on ? "on" : "off");
  show(on);
});
field.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(render, 350); });
show((remembered() ?? (wide.matches ? "on" : "off")) === "on");
