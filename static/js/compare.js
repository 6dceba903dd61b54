// Curves over each other: <div data-overlay="URL of their points" data-picked="1,2">, with the tools of its card and a key for each curve.
import { UNITS, USUAL, choice, choose } from "./compare-choices.js";
import { range } from "./curve-lines.js";
import { note, traces } from "./compare-lines.js";
import { baseLayout, colours, draw } from "./figure.js";
import { onElements } from "./stream.js";

const REFRESH_MS = 10_000;

onElements("[data-overlay]", (element) => {
  const card = element.closest("section");
  const tools = card.querySelector("[data-tools]");
  const keys = () => [...document.querySelectorAll("[data-curve-of]")];
  const off = new Set(choice.off.split(",").filter(Boolean));
  let data = null;
  let whole = false;
  let zooms = 0;
  let turns = 0;
  let due = null;

  const sides = () => keys().map(({ dataset }) => ({ id: dataset.curveOf, name: dataset.name, colour: dataset.colour, dash: Number(dataset.dash), hidden: off.has(dataset.curveOf) }));

  async function load() {
    const [{ x }, turn] = [choice, ++turns];
    const wanted = ["x", "y"].filter((name) => choice[name] !== USUAL[name]).map((name) => `&${name}=${encodeURIComponent(choice[name])}`);
    const answer = await fetch(`${element.dataset.overlay}?e=${element.dataset.picked}${wanted.join("")}`).catch(() => null);
    const fresh = answer?.ok && !answer.redirected ? await answer.json().catch(() => null) : null;
    if (turn !== turns) return;  // something else was chosen meanwhile
    if (!fresh) { card.querySelector("[data-note]").textContent = "The curves could not be read. Reload the page to try again."; return; }
    data = { ...fresh, x };
    choice.y = data.value;  // odd ones in the address count as none
    await render();
  }
  const renderSoon = () => { due ??= requestAnimationFrame(() => { due = null; render(); }); };
  async function render() {
    show();
    if (!data || !window.Plotly) return;
    const empty = element.querySelector("[data-empty]");
    if (!Object.keys(data.curves).length) { if (empty) empty.textContent = "None of them has a curve: nothing of them was trained here, or no training has begun."; return; }
    const style = getComputedStyle(document.documentElement);
    const lines = traces(sides(), data, { ...choice, x: data.x, smooth: Number(choice.smooth) }, (n) => style.getPropertyValue(`--c${n}`).trim());
    const useful = choice.y === "loss" && !choice.logy && !whole ? range(...lines.map(({ y }) => y.map((loss) => ({ loss })))) : undefined;
    await draw(element, lines, baseLayout(colours(), {
      uirevision: `${data.x} ${data.value} ${choice.logx} ${choice.logy} ${zooms}`,
      margin: { l: 60, r: 16, t: 10, b: 44 },
      xaxis: { title: { text: UNITS[data.x], standoff: 8 }, type: choice.logx ? "log" : "linear", rangemode: choice.logx ? "normal" : "tozero" },
      yaxis: { type: choice.logy ? "log" : "linear", range: useful, nticks: 7 },
    }));
    element.dataset.drawn = String(Math.round(performance.now()));
  }
  function show() {
    tools.disabled = false;
    for (const control of tools.querySelectorAll("[data-choice]")) {
      const value = choice[control.dataset.choice];
      if (control.type === "checkbox") control.checked = value === "1";
      else control.value = value;
    }
    for (const option of tools.querySelectorAll("option")) option.hidden = option.disabled = !(option.value === choice.y || option.value === "loss" || data?.values.includes(option.value));
    for (const button of tools.querySelectorAll("[data-across]")) button.setAttribute("aria-pressed", String(button.dataset.across === choice.x));
    for (const key of keys()) { key.disabled = false; key.setAttribute("aria-pressed", String(!off.has(key.dataset.curveOf))); }
    tools.querySelector("[data-smooth]").textContent = choice.smooth;
    if (data) card.querySelector("[data-note]").textContent = note(sides(), data);
  }
  const valueOf = (control) => (control.type === "checkbox" ? (control.checked ? "1" : "") : control.value);
  tools.addEventListener("input", ({ target }) => {
    choice[target.dataset.choice] = valueOf(target);
    if (target.dataset.choice === "y") load(); else renderSoon();
  });
  tools.addEventListener("change", ({ target }) => choose(target.dataset.choice, valueOf(target)));  // a slider moves too often for the address
  tools.addEventListener("click", ({ target: { dataset } }) => {
    if (dataset.across) { choose("x", dataset.across); load(); }
    if (dataset.zoom) { [whole, zooms] = [dataset.zoom === "all", zooms + 1]; render(); }
  });
  document.addEventListener("click", ({ target }) => {
    const id = target.closest?.("[data-curve-of]")?.dataset.curveOf;
    if (!id) return;
    off[off.has(id) ? "delete" : "add"](id);
    choose("off", [...off].join());
    render();
  });
  load();
  document.addEventListener("theme", render);
  document.addEventListener("htmx:afterSettle", show);
  setInterval(() => { if (document.querySelector("#chosen[data-live]") && !document.hidden) { window.htmx?.trigger(document.body, "refresh"); load(); } }, REFRESH_MS);
});
