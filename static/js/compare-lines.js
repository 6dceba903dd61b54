// The arithmetic of overlaid curves: which values there are, their running average, and the range worth showing.
const AXES = new Set(["step", "tokens", "seconds"]);

/** Values that any of the curves has, in their order. */
export function fields(lines) {
  return [...new Set(Object.values(lines).flatMap((line) => Object.keys(line)))].filter((name) => !AXES.has(name));
}

/** An exponential average, corrected for its start at zero; a gap stays a gap and does not reach beyond itself. */
export function average(values, weight) {
  if (!weight) return values;
  let [mean, mass] = [0, 0];
  return values.map((value) => {
    if (value === null) return null;
    mean = weight * mean + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return mean / mass;
  });
}

/** Of a loss the steep start is cut off; anything else is shown whole. */
export function places(traces, field) {
  if (field !== "loss") return undefined;
  const values = traces.flatMap((trace) => trace.y.slice(Math.floor(trace.y.length * 0.2))).filter((value) => value !== null).sort((a, b) => a - b);
  if (values.length < 2) return undefined;
  const [low, high] = [values[0], values[Math.min(values.length - 1, Math.floor(values.length * 0.985))]];
  const pad = (high - low || Math.abs(high) || 1) * 0.08;
  return [low - pad, high + pad];
}
