// The arithmetic of overlaid curves: smoothing, the lines as Plotly draws them, the range worth showing.
import { plain } from "./figure.js";

export const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "9px,3px,2px,3px,2px,3px"];  // as in compare.css
const WITH_RAW = 8;  // curves; with more, the unsmoothed ones behind them would be noise

/** A moving mean that forgets exponentially, debiased: `weight` is what a point of the usual distance keeps of the mean before it.
 *  The points stand unevenly, so that a long way forgets more. A gap stays a gap. */
export function smooth(steps, values, weight) {
  if (!weight) return values;
  const usual = (steps.at(-1) - steps[0]) / Math.max(1, steps.length - 1) || 1;
  let [mean, known, last] = [0, 0, steps[0] - usual];
  return values.map((value, i) => {
    if (value === null) return null;
    const keeps = weight ** Math.max(0, (steps[i] - last) / usual);
    [mean, known, last] = [keeps * mean + (1 - keeps) * value, keeps * known + (1 - keeps), steps[i]];
    return known ? mean / known : value;
  });
}

/** `sides`: {id, name, colour, dash, hidden}. Traces of those that are shown and have a curve. */
export function traces(sides, data, choice, css) {
  const shown = sides.filter(({ id, hidden }) => data.curves[id]?.y.length && !hidden);
  const axis = (values) => (choice.logx ? values.map((value) => (value > 0 ? value : null)) : values);
  const lines = shown.map((side) => {
    const curve = data.curves[side.id];
    const name = plain(side.name, 40);
    return {
      x: axis(curve[choice.x] ?? curve.step), y: smooth(curve.step, curve.y, choice.smooth), raw: curve.y, customdata: curve.step, name, id: side.id, mode: "lines", type: "scatter", connectgaps: false,
      line: { color: css(side.colour), dash: DASHES[side.dash], width: shown.length > 12 ? 1.3 : 1.8 },
      hovertemplate: `${name}<br>%{y:.5~g}${choice.smooth ? " smoothed" : ""}<br>step %{customdata:,}<extra></extra>`,
    };
  });
  if (!choice.smooth || lines.length > WITH_RAW) return lines;
  return [...lines.map((line) => ({ ...line, y: line.raw, opacity: 0.22, hoverinfo: "skip", hovertemplate: null, line: { ...line.line, width: 1, dash: "solid" } })), ...lines];
}

/** What is not finite, or not there, in words. */
export function note(sides, data) {
  const names = (some) => `${some.slice(0, 6).map(({ name }) => name).join(", ")}${some.length > 6 ? ` and ${some.length - 6} more` : ""}`;
  const without = sides.filter(({ id }) => !data.curves[id]?.y.length);
  const broken = sides.filter(({ id }) => data.curves[id]?.y.includes(null));
  return [
    without.length ? `No curve: ${names(without)}.` : "",
    broken.length ? `Not finite for a while, drawn as a gap: ${names(broken)}.` : "",
  ].filter(Boolean).join(" ");
}
