// The progress chart: loads its data, draws it again when the run moves on, zooms, and leads to the experiments.
import { colours, draw } from "./figure.js";
import { canLog, hasAny, labels, layoutOf, tickFormat, noiseWords, points, traces } from "./staircase.js";
import { PATIENCE_MS, onElements } from "./stream.js";

const read = (axis) => axis.range.map((value) => (axis.type === "log" ? value : Number(value)));

onElements("[data-progress]", (element) => {
  const card = element.closest("section");
  const [scale, reset, noise] = ["[data-chart-scale]", "[data-chart-reset]", "[data-noise]"].map((name) => card.querySelector(name));
  let data = null;
  let last = "";
  let log = false;
  let zoom = null;  // the ranges that somebody chose
  let [busy, again] = [false, false];

  async function load() {  // one at a time: an older answer must not come over a newer one
    if (busy) { again = true; return; }
    busy = true;
    try { await fetchAndDraw(); } finally { busy = false; }
    if (again) { again = false; load(); }
  }
  async function fetchAndDraw() {
    const answer = await fetch(element.dataset.progress, { signal: AbortSignal.timeout(PATIENCE_MS) }).catch(() => null);
    if (!answer?.ok || answer.redirected) return;  // away, or signed out: live.js and swaps.js say so
    const text = await answer.text().catch(() => last);  // cut off: the next refresh brings it
    if (text === last) return;
    [last, data] = [text, JSON.parse(text)];
    for (const kind of ["kept", "discarded", "reverted", "failed"]) data[kind] = points(data[kind]);
    await render();
  }
  async function render() {
    if (!data?.last && !data?.kept.length) return;
    const c = colours();
    const fresh = !element.data;
    log = log && canLog(data);
    await draw(element, traces(data, c, log), layoutOf(data, c, element, log, zoom));
    if (fresh) listen();
    [scale.hidden, reset.hidden] = [!canLog(data), !zoom];
    noise.textContent = noiseWords(data);
    for (const part of card.querySelectorAll("[data-shows]")) part.hidden = !hasAny(data, part.dataset.shows, log);
    for (const button of scale.children) button.setAttribute("aria-pressed", String((button.value === "log") === log));
    element.dataset.drawn = String(Math.round(performance.now()));
  }
  function unzoom() {
    zoom = null;
    render();
  }
  function listen() {
    element.on("plotly_click", ({ points: [point] }) => { if (point.customdata) location.href = `/experiments/${point.customdata}/`; });
    element.on("plotly_doubleclick", () => setTimeout(unzoom));
    element.on("plotly_relayout", (changed) => {
      if (!Object.keys(changed).some((key) => /^[xy]axis\.range/.test(key))) return;
      zoom = { x: read(element.layout.xaxis), y: read(element.layout.yaxis) };
      reset.hidden = false;
      window.Plotly.relayout(element, { annotations: labels(data, element.layout, element, log, colours()), "yaxis.tickformat": tickFormat(zoom.y, log) });
    });
  }
  reset.addEventListener("click", unzoom);
  scale.addEventListener("click", ({ target }) => {
    if (!target.value) return;
    [log, zoom] = [target.value === "log", null];
    render();
  });
  load();
  document.body.addEventListener("refresh", load);
  document.addEventListener("theme", render);
  new ResizeObserver(() => { clearTimeout(element.timer); element.timer = setTimeout(render, 200); }).observe(element);
});
