// Curves of many experiments over each other. What is chosen stands in the address, so that it can be shared.
import { average, fields, places } from "./compare-lines.js";
import { baseLayout, colours, draw } from "./figure.js";

const NAMES = { loss: "training loss", grad_norm: "gradient norm", tok_per_sec: "tokens a second", mfu: "MFU, %" };
const element = document.querySelector("[data-compare]");
const controls = document.querySelector("[data-controls]");
const keys = [...document.querySelectorAll("[data-line]")];
const note = document.querySelector("[data-note]");
const address = new URLSearchParams(location.search);
const choice = { x: "step", y: "loss", smooth: "0", logx: "", logy: "", hide: "", ...Object.fromEntries(address) };
const hidden = new Set(choice.hide.split(",").filter(Boolean));
let lines = {};

function remember() {
  choice.hide = [...hidden].join(",");
  for (const name of ["x", "y", "smooth", "logx", "logy", "hide"]) {
    if (choice[name] && choice[name] !== { x: "step", y: "loss", smooth: "0" }[name]) address.set(name, choice[name]);
    else address.delete(name);
  }
  history.replaceState(null, "", `?${address.toString().replaceAll("%2C", ",")}`);
}

function show() {
  const c = colours();
  const style = getComputedStyle(document.documentElement);
  const smooth = Math.min(0.99, Math.max(0, Number(choice.smooth) || 0));
  const traces = keys.filter((key) => lines[key.dataset.line]?.[choice.y]).map((key) => {
    const line = lines[key.dataset.line];
    return {
      x: line[choice.x], y: average(line[choice.y], smooth), name: key.dataset.name, mode: "lines", type: "scatter", connectgaps: false,
      visible: hidden.has(key.dataset.line) ? "legendonly" : true, text: line.step,
      line: { color: style.getPropertyValue(`--${key.dataset.colour}`).trim(), dash: key.dataset.dash, width: keys.length > 12 ? 1.3 : 2 },
      hovertemplate: `${key.dataset.name}<br>%{y:.5g} at step %{text}<extra></extra>`,
    };
  });
  for (const key of keys) key.setAttribute("aria-pressed", String(!hidden.has(key.dataset.line)));
  const without = keys.filter((key) => !lines[key.dataset.line]?.[choice.y]).map((key) => key.dataset.name);
  note.textContent = without.length ? `No curve of this value: ${without.slice(0, 6).join(", ")}${without.length > 6 ? ` and ${without.length - 6} more` : ""}.` : "";
  if (!traces.length) {
    element.replaceChildren(Object.assign(document.createElement("p"), { className: "empty", textContent: "None of these experiments has a curve." }));
    note.textContent = "";
    return;
  }
  const shown = traces.filter((trace) => trace.visible === true);
  draw(element, traces, baseLayout(c, {
    uirevision: [choice.x, choice.y, choice.logx, choice.logy].join(),
    xaxis: { type: choice.logx ? "log" : "linear", title: { text: choice.x, font: { size: 12, color: c.dim } }, ticksuffix: choice.x === "seconds" ? " s" : "" },
    yaxis: { type: choice.logy ? "log" : "linear", title: { text: NAMES[choice.y] ?? choice.y, font: { size: 12, color: c.dim } }, range: choice.logy ? undefined : places(shown, choice.y) },
    margin: { l: 64, r: 12, t: 8, b: 44 },
  }));
}

function reflect() {
  for (const control of controls.querySelectorAll("[data-choice]")) {
    const name = control.dataset.choice;
    if (control.type === "checkbox") control.checked = Boolean(choice[name]);
    else if (control.type === "button") control.setAttribute("aria-pressed", String(choice[name] === control.value));
    else control.value = choice[name];
  }
  controls.querySelector("[data-smooth]").textContent = choice.smooth;
}

function choose(name, value) {
  choice[name] = value;
  remember();
  reflect();
  show();
}

controls.addEventListener("input", ({ target }) => target.matches("[data-choice]") && choose(target.dataset.choice, target.type === "checkbox" ? (target.checked ? "1" : "") : target.value));
controls.addEventListener("click", ({ target }) => {
  if (target.matches("button[data-choice]")) choose(target.dataset.choice, target.value);
  if (target.matches("[data-reset]")) window.Plotly.relayout(element, { "xaxis.autorange": true, "yaxis.autorange": true });
});
document.querySelector("[data-legend]").addEventListener("click", (event) => {
  const id = event.target.closest("[data-line]")?.dataset.line;
  if (!id) return;
  if (!hidden.delete(id)) hidden.add(id);
  choose("hide", [...hidden].join(","));
});
document.querySelector("[data-submits]")?.addEventListener("change", (event) => event.currentTarget.requestSubmit());
document.addEventListener("theme", () => Object.keys(lines).length && show());

try {
  const answer = await fetch(element.dataset.compare, { credentials: "same-origin" });
  if (!answer.ok) throw new Error(answer.status);
  lines = await answer.json();
  const select = controls.querySelector("[data-choice=y]");
  select.replaceChildren(...fields(lines).map((name) => new Option(NAMES[name] ?? name, name)));
  if (!fields(lines).includes(choice.y)) choice.y = fields(lines)[0] ?? "loss";
  controls.hidden = false;
  reflect();
  show();
} catch {
  element.querySelector("[data-empty]").textContent = "The curves could not be read. Reload the page to try again; the numbers below are complete.";
}
