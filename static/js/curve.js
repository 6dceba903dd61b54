// The live loss curve over another's: <div data-curve data-experiment="7" data-compare="3" data-compare-name="best #3">.
// Numbers of the last point go to [data-number="loss"] and the like inside the nearest [data-curve-scope].
import { baseLayout, colours, draw, signed } from "./figure.js";
import { Reader, onElements } from "./stream.js";

const MAX_POINTS = 1500;
const DRAW_MS = 300;

/** Every n-th point and always the last: enough for the eye, cheap to draw. */
function thin(points) {
  const step = Math.ceil(points.length / MAX_POINTS);
  return step < 2 ? points : points.filter((_, i) => i % step === 0 || i === points.length - 1);
}

/** The loss of `points` at a moment of training, between two points; null outside. */
function lossAt(points, seconds) {
  const i = points.findIndex((point) => point.seconds >= seconds);
  if (i < 0) return null;
  const [a, b] = [points[Math.max(0, i - 1)], points[i]];
  if (a.loss === null || b.loss === null || b.seconds === a.seconds) return b.loss;
  return a.loss + ((b.loss - a.loss) * (seconds - a.seconds)) / (b.seconds - a.seconds);
}

/** The mean difference over the last tenth: one batch says nothing. */
function gapTo(other, points) {
  const recent = points.filter((point) => point.loss !== null && point.seconds >= points.at(-1).seconds * 0.9);
  const gaps = recent.map((point) => [point.loss, lossAt(other, point.seconds)]).filter(([, theirs]) => theirs !== null);
  return gaps.length ? gaps.reduce((sum, [mine, theirs]) => sum + mine - theirs, 0) / gaps.length : null;
}

/** The steep start is cut off: what matters is the rest. */
function range(...lines) {
  const losses = lines.flatMap((points) => points.slice(Math.floor(points.length * 0.2)).map((point) => point.loss)).filter((loss) => loss !== null).sort((a, b) => a - b);
  if (losses.length < 2) return undefined;
  const [low, high] = [losses[0], losses[Math.min(losses.length - 1, Math.floor(losses.length * 0.985))]];
  const pad = (high - low || Math.abs(high) || 1) * 0.08;
  return [low - pad, high + pad];
}

function clock(seconds) {
  const s = Math.max(0, Math.round(seconds));
  return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`;
}

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
    gap: gap === null ? "" : `training loss ${signed(gap, 4)} at the same moment`,
  };
  for (const [name, text] of Object.entries(texts)) {
    for (const element of scope.querySelectorAll(`[data-number="${name}"]`)) element.textContent = text;
  }
  for (const bar of scope.querySelectorAll("progress[data-number]")) bar.value = last.percent ?? 0;
}

onElements("[data-curve]", (element) => {
  const lines = { mine: [], other: [] };
  let timer = null;

  function render() {
    timer = null;
    if (!element.isConnected || !window.Plotly || (!lines.mine.length && !lines.other.length)) return;
    const c = colours();
    const trace = (points, name, color, width) => ({
      x: points.map((point) => point.seconds), y: points.map((point) => point.loss), text: points.map((point) => point.step), name, mode: "lines",
      line: { color, width, shape: "linear" }, hovertemplate: `${name}<br>loss %{y:.4f}<br>step %{text}, %{x:.1f} s<extra></extra>`, type: "scatter",
    });
    const [mine, other] = [thin(lines.mine), thin(lines.other)];
    const end = mine.at(-1);
    draw(element, [
      trace(other, element.dataset.compareName || "compared", c.faint, 1.5),
      trace(mine, "this one", c.accent, 2),
      { x: end ? [end.seconds] : [], y: end ? [end.loss] : [], mode: "markers", marker: { color: c.accent, size: 8, line: { color: c.card, width: 2 } }, hoverinfo: "skip", type: "scatter" },
    ], baseLayout(c, { xaxis: { ticksuffix: " s", rangemode: "tozero" }, yaxis: { range: range(mine, other), nticks: 6 } }));
    showTheNumbers();
  }
  const showTheNumbers = () => showNumbers(element.closest("[data-curve-scope]"), lines.mine, lines.other);
  const renderSoon = () => { timer ??= setTimeout(render, DRAW_MS); };
  const read = (experiment, line) => experiment && new Reader(element, experiment, "series", {
    restart() { lines[line] = []; },
    add(data) { lines[line].push(...JSON.parse(data)); renderSoon(); },
  });
  read(element.dataset.experiment, "mine");
  read(element.dataset.compare, "other");
  document.addEventListener("theme", renderSoon);
  document.addEventListener("htmx:afterSwap", showTheNumbers);  // hx-preserve moved the curve into a fresh card, its numbers are empty
});
