// What the progress chart draws: discards in grey, keeps as a staircase, the band of noise round it, failures as a strip below.
import { baseLayout, plain, signed } from "./figure.js";
import { place } from "./labels.js";

const SIGMAS = 2;
const STRIP = 0.1;  // of the height, for the failures

/** Columns as the server sends them -> points. */
export function points(columns) {
  const names = Object.keys(columns);
  return columns.pk.map((_, i) => Object.fromEntries(names.map((name) => [name, columns[name][i]])));
}

const hover = (point, metric) => {
  const value = point.score === null ? plain(point.why || "failed") : `${plain(metric)} ${point.score.toFixed(6)}`;
  const delta = point.delta === null || point.score === null ? "" : ` (${signed(point.delta, 6)} to its parent)`;
  return `<b>#${point.number}</b> ${plain(point.text, 70)}<br>${value}${delta}`;
};

/** The range shown, in the units of the axis: the logarithm has room for every score. */
export const rangeOf = (data, log) => (log ? data.whole.map(Math.log10) : data.range);
/** Whether the legend needs this line. */
export function hasAny(data, what, log) {
  if (what === "noise") return data.sigma !== null;
  const [low, high] = log ? data.whole : data.range;
  return what === "outside" ? [...data.kept, ...data.discarded, ...data.reverted].some(({ score }) => score > high || score < low) : data[what].length > 0;
}

/** As many digits on every line as the lines need to differ. */
export const tickFormat = ([low, high], log) => (log ? ".4~f" : `.${Math.min(6, Math.max(0, Math.ceil(-Math.log10((high - low) / 8))))}f`);
export const canLog = (data) => data.whole[0] > 0;

export function traces(data, c, log) {
  const markers = (rows, y, marker, axis = "y") => ({
    x: rows.map((point) => point.number), y: rows.map(y), customdata: rows.map((point) => point.pk), text: rows.map((point) => hover(point, data.metric)),
    mode: "markers", type: "scatter", yaxis: axis, hovertemplate: "%{text}<extra></extra>", marker,
  });
  const [low, high] = log ? data.whole : data.range;
  const rim = (high - low) * 0.025;
  const inside = (point) => (point.score > high ? high - rim : point.score < low ? low + rim : point.score);
  const shape = (usual) => (point) => (point.score > high ? "triangle-up-open" : point.score < low ? "triangle-down-open" : usual);
  const stairs = data.kept.map((point) => [point.number, point.score]);
  if (stairs.length) stairs.push([Math.max(data.last, stairs.at(-1)[0] + 0.5), stairs.at(-1)[1]]);
  const line = (by, extra) => ({ x: stairs.map(([x]) => x), y: stairs.map(([, y]) => y + by), mode: "lines", hoverinfo: "skip", type: "scatter", ...extra });
  const band = (data.sigma ?? 0) * SIGMAS;
  const edge = { line: { shape: "hv", color: c.keep, width: 0 } };
  const many = data.last > 300;
  const size = many ? 6 : 9;
  const doubtful = data.kept.map((point, i) => i > 0 && point.gain !== null && Math.abs(point.gain) < band);
  return [
    ...(band ? [line(-band, edge), line(band, { ...edge, fill: "tonexty", fillcolor: `${c.keep}22` })] : []),
    markers(data.discarded, inside, { symbol: data.discarded.map(shape("circle-open")), color: c.faint, size: many ? 5 : 7, opacity: many ? 0.6 : 1, line: { width: many ? 1 : 1.5 } }),
    line(0, { line: { shape: "hv", color: c.keep, width: 2 } }),
    markers(data.reverted, inside, { symbol: data.reverted.map(shape("diamond-open")), color: c.dim, size: size + 1, line: { width: 2 } }),
    markers(data.kept, inside, { color: doubtful.map((is) => (is ? c.card : c.keep)), size, line: { color: doubtful.map((is) => (is ? c.keep : c.card)), width: doubtful.map((is) => (is ? 2 : 1.5)) } }),
    markers(data.failed, () => 0, { symbol: "x-thin-open", color: c.fail, size: many ? 6 : 8, line: { width: many ? 1.5 : 2 } }, "y2"),
  ];
}

/** `zoom`: {x, y} ranges that somebody chose, or null. */
export function layoutOf(data, c, element, log, zoom) {
  const first = data.kept[0];
  const span = Math.max(data.last, 4);
  const narrow = element.clientWidth < 560;
  const layout = baseLayout(c, {
    uirevision: false, margin: { l: narrow ? 48 : 60, r: 22, t: 6, b: 32 },
    xaxis: { range: zoom?.x ?? [-span * 0.012 - 0.3, span * 1.012 + 0.3], anchor: "y2", tickprefix: "#", tickformat: "d", ...(span <= 10 && !zoom ? { dtick: 1 } : { nticks: narrow ? 5 : 10 }) },
    yaxis: { type: log ? "log" : "linear", range: zoom?.y ?? rangeOf(data, log), domain: [STRIP, 1], nticks: narrow ? 5 : 8, tickformat: tickFormat(zoom?.y ?? rangeOf(data, log), log) },
  });
  layout.yaxis2 = { domain: [0, STRIP * 0.7], range: [-1, 1], fixedrange: true, showgrid: false, zeroline: false, tickvals: [0], ticktext: [data.failed.length ? "failed" : ""], tickfont: { color: c.dim, size: 12 } };
  layout.shapes = first ? [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: first.score, y1: first.score, line: { color: c.faint, width: 1, dash: "dot" }, layer: "below" }] : [];
  layout.annotations = labels(data, layout, element, log, c);
  return layout;
}

/** The words beside the keeps, for the ranges that `layout` has. */
export function labels(data, layout, element, log, c) {
  const up = data.lower_is_better ? 1 : -1;
  return place(data, layout, element, log).map((label) => ({
    x: label.number, y: log ? Math.log10(label.score) : label.score, text: plain(label.text, 200), font: { size: 12, color: c.ink }, xanchor: label.leftwards ? "right" : "left", yanchor: up > 0 ? "bottom" : "top",
    showarrow: true, arrowhead: 0, arrowwidth: 1, arrowcolor: label.lift ? c.faint : "rgba(0,0,0,0)", standoff: 6, ax: label.leftwards ? -2 : 2, ay: -label.lift - up * 4, borderpad: 0, captureevents: false, bgcolor: label.over ? `${c.card}d0` : "rgba(0,0,0,0)",
  }));
}

export function noiseWords(data) {
  const few = data.left_out ? ` ${data.left_out.toLocaleString("en")} of the discarded are not drawn.` : "";
  if (data.sigma === null) return `The noise is not measured yet: three scores of one commit (repeats of it with other seeds) draw the band in which a gain may be luck.${few}`;
  return `Shaded: ±${(SIGMAS * data.sigma).toPrecision(2)} round the best, two sigma of the same commit's scores. A gain within it may be luck.${few}`;
}
