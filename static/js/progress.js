// The progress chart: discards in grey, keeps as a staircase of the best, failures as a strip at the top.
import { baseLayout, colours, draw, plain, signed } from "./figure.js";
import { place } from "./labels.js";
import { onElements } from "./stream.js";

const hover = (point, metric) => {
  const value = point.score === null ? plain(point.why || point.state) : `${metric} ${point.score.toFixed(6)}`;
  const delta = point.delta === null ? "" : ` (${signed(point.delta, 6)})`;
  return `<b>#${point.number}</b> ${plain(point.text, 70)}<br>${value}${delta}`;
};

function traces(data, c) {
  const markers = (points, y, marker, axis = "y") => ({
    x: points.map((point) => point.number), y: points.map(y), customdata: points.map((point) => point.pk), text: points.map((point) => hover(point, data.metric)),
    mode: "markers", type: "scatter", yaxis: axis, hovertemplate: "%{text}<extra></extra>", marker,
  });
  const [low, high] = data.range;
  const rim = (high - low) * 0.025;
  const inside = (point) => (point.score > high ? high - rim : point.score < low ? low + rim : point.score);
  const outside = (point) => point.score > high || point.score < low;
  const stairs = [...data.kept.map((point) => [point.number, point.score])];
  if (stairs.length) stairs.push([Math.max(data.last, stairs.at(-1)[0] + 0.5), stairs.at(-1)[1]]);
  const many = data.last > 300;
  const lost = [...data.discarded, ...data.reverted];
  return [
    { x: stairs.map(([x]) => x), y: stairs.map(([, y]) => y), mode: "lines", line: { shape: "hv", color: c.keep, width: 2 }, hoverinfo: "skip", type: "scatter" },
    markers(lost, inside, { symbol: lost.map((point) => (outside(point) ? (point.score > high ? "triangle-up-open" : "triangle-down-open") : point.state === "reverted" ? "diamond-open" : "circle-open")), color: c.faint, size: many ? 5 : 7, opacity: many ? 0.6 : 1, line: { width: many ? 1 : 1.5 } }),
    markers(data.kept, inside, { color: c.keep, size: many ? 6 : 9, line: { color: c.card, width: 1.5 } }),
    markers(data.failed, () => 0, { symbol: "x-thin-open", color: c.fail, size: 8, line: { width: 2 } }, "y2"),
  ];
}

function layoutOf(data, c, element) {
  const first = data.kept[0];
  const span = Math.max(data.last, 4);
  const narrow = element.clientWidth < 560;
  const layout = baseLayout(c, {
    margin: { l: narrow ? 48 : 60, r: 22, t: 6, b: 32 },
    xaxis: { range: [-span * 0.012 - 0.3, span * 1.012 + 0.3], tickprefix: "#", tickformat: "d", ...(span <= 10 ? { dtick: 1 } : { nticks: narrow ? 5 : 10 }) },
    yaxis: { range: data.range, domain: [0, 0.92], nticks: narrow ? 5 : 8, tickformat: ".4~f" },
  });
  layout.yaxis2 = { domain: [0.93, 1], range: [-1, 1], visible: false, fixedrange: true };
  layout.shapes = first ? [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: first.score, y1: first.score, line: { color: c.faint, width: 1, dash: "dot" }, layer: "below" }] : [];
  const up = data.lower_is_better ? 1 : -1;
  layout.annotations = place(data, layout, element, narrow).map((label) => ({
    x: label.number, y: label.score, text: plain(label.text, 200), font: { size: 11.5, color: c.ink }, xanchor: label.leftwards ? "right" : "left", yanchor: up > 0 ? "bottom" : "top",
    showarrow: true, arrowhead: 0, arrowwidth: 1, arrowcolor: label.lift ? c.faint : "rgba(0,0,0,0)", standoff: 6, ax: label.leftwards ? -2 : 2, ay: -label.lift - up * 4, borderpad: 0, captureevents: false,
  }));
  return layout;
}

onElements("[data-progress]", (element) => {
  let data = null;
  let last = "";

  async function load() {
    const answer = await fetch(element.dataset.progress).catch(() => null);
    if (!answer?.ok || answer.redirected) return;  // away, or signed out: live.js and swaps.js say so
    const text = await answer.text();
    if (text === last) return;
    [last, data] = [text, JSON.parse(text)];
    await render();
  }
  async function render() {
    if (!data?.last && !data?.kept.length) return;
    const c = colours();
    const fresh = !element.data;
    await draw(element, traces(data, c), layoutOf(data, c, element));
    if (fresh) element.on("plotly_click", ({ points }) => { if (points[0].customdata) location.href = `/experiments/${points[0].customdata}/`; });
    element.dataset.drawn = String(Math.round(performance.now()));
  }
  load();
  document.body.addEventListener("refresh", load);
  document.addEventListener("theme", render);
  new ResizeObserver(() => { clearTimeout(element.timer); element.timer = setTimeout(render, 200); }).observe(element);
});
