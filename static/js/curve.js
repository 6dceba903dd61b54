// The live loss curve over others': <div data-curve data-experiment="7" data-compare="3" data-compare-name="#3"
// data-best="5" data-best-name="the best, #5">. Buttons [data-axis="step"] in the scope choose what is across.
// Numbers of the last point go to [data-number="loss"] and the like inside the nearest [data-curve-scope].
import { clock, gapTo, gaps, range, thin } from "./curve-lines.js";
import { baseLayout, colours, draw, signed, whileShown } from "./figure.js";
import { Reader, onElements } from "./stream.js";

const DRAW_MS = 300;
const UNITS = { seconds: ["seconds", " s"], step: ["step", ""], tokens: ["tokens", ""] };  // of the x axis: field, suffix
let across = "seconds";  // of all curves of the page, also of the next training's

function showNumbers(scope, points, other) {
  const last = points.at(-1);
  if (!scope || !last) return;
  const gap = gapTo(other, points);
  const texts = {
    loss: last.loss === null ? "not finite" : last.loss.toFixed(4),
    step: last.step.toLocaleString("en"),
    speed: last.tok_per_sec ? Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 }).format(last.tok_per_sec) : "—",
    mfu: last.mfu ? `${last.mfu.toFixed(1)} %` : "—",
    left: last.remaining_s === null ? "—" : clock(last.remaining_s),
    gaps: gaps(points),
    gap: gap === null ? "" : `training loss ${signed(gap, 4)} at the same moment`,
  };
  for (const [name, text] of Object.entries(texts)) {
    for (const element of scope.querySelectorAll(`[data-number="${name}"]`)) element.textContent = text;
  }
  for (const bar of scope.querySelectorAll("progress[data-number]")) bar.value = last.percent ?? 0;
}

onElements("[data-curve]", (element) => {
  const lines = { mine: [], other: [], best: [] };
  let timer = null;

  function render() {
    timer = null;
    if (!element.isConnected || !window.Plotly || !Object.values(lines).some((points) => points.length)) return;
    const c = colours();
    const [field, suffix] = UNITS[across];
    const trace = (points, name, color, width, dash = "solid") => ({
      x: points.map((point) => point[field]), y: points.map((point) => point.loss), text: points.map((point) => point.step), name, mode: "lines",
      customdata: points.map((point) => point.seconds), connectgaps: false,
      line: { color, width, dash, shape: "linear" }, hovertemplate: `${name}<br>loss %{y:.4f}<br>step %{text}, %{customdata:.1f} s<extra></extra>`, type: "scatter",
    });
    const [mine, other, best] = [lines.mine, lines.other, lines.best].map(thin);
    const end = mine.at(-1);
    draw(element, [
      trace(other, element.dataset.compareName || "compared", c.faint, 1.5),
      trace(mine, "this one", c.accent, 2),
      { x: end ? [end[field]] : [], y: end ? [end.loss] : [], mode: "markers", marker: { color: c.accent, size: 8, line: { color: c.card, width: 2 } }, hoverinfo: "skip", type: "scatter" },
      trace(best, element.dataset.bestName || "the best", c.keep, 1.5, "dot"),
    ], baseLayout(c, { uirevision: across, xaxis: { ticksuffix: suffix, rangemode: "tozero" }, yaxis: { range: range(mine, other, best), nticks: 6 } }));
    showTheNumbers();
  }
  const showTheNumbers = () => showNumbers(scope(), lines.mine, lines.other.length ? lines.other : lines.best);
  const renderSoon = () => { timer ??= setTimeout(render, DRAW_MS); };
  const read = (experiment, line) => experiment && new Reader(element, experiment, "series", {
    restart() { lines[line] = []; },
    add(data) { lines[line].push(...JSON.parse(data)); renderSoon(); },
  });
  read(element.dataset.experiment, "mine");
  read(element.dataset.compare, "other");
  read(element.dataset.best, "best");
  const scope = () => element.closest("[data-curve-scope]");
  const showTheAxis = () => {
    for (const one of scope()?.querySelectorAll("[data-axis]") ?? []) one.setAttribute("aria-pressed", String(one.dataset.axis === across));
  };
  whileShown(element, {
    theme: renderSoon,
    click({ target }) {
      const button = target.closest("[data-axis]");
      if (!button || button.closest("[data-curve-scope]") !== scope()) return;
      across = button.dataset.axis;
      showTheAxis();
      render();
    },
    "htmx:afterSwap"() { showTheNumbers(); showTheAxis(); },  // hx-preserve moved the curve into a fresh card
  });
});
