// The arithmetic of loss curves: thinning, the gap to another curve, the range worth showing, what is not finite.
const MAX_POINTS = 1500;

/** Every n-th point, the first of each gap and always the last: enough for the eye, cheap to draw. */
export function thin(points) {
  const step = Math.ceil(points.length / MAX_POINTS);
  return step < 2 ? points : points.filter((_, i) => i % step === 0 || i === points.length - 1 || (points[i].loss === null && points[i - 1]?.loss !== null));
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
export function gapTo(other, points) {
  const recent = points.filter((point) => point.loss !== null && point.seconds >= points.at(-1).seconds * 0.9);
  const gaps = recent.map((point) => [point.loss, lossAt(other, point.seconds)]).filter(([, theirs]) => theirs !== null);
  return gaps.length ? gaps.reduce((sum, [mine, theirs]) => sum + mine - theirs, 0) / gaps.length : null;
}

/** The steep start is cut off: what matters is the rest. */
export function range(...lines) {
  const losses = lines.flatMap((points) => points.slice(Math.floor(points.length * 0.2)).map((point) => point.loss)).filter((loss) => loss !== null).sort((a, b) => a - b);
  if (losses.length < 2) return undefined;
  const [low, high] = [losses[0], losses[Math.min(losses.length - 1, Math.floor(losses.length * 0.985))]];
  const pad = (high - low || Math.abs(high) || 1) * 0.08;
  return [low - pad, high + pad];
}

export function clock(seconds) {
  const s = Math.max(0, Math.round(seconds));
  return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`;
}

/** Where the loss was not finite, in words. */
export function gaps(points) {
  const starts = points.filter((point, i) => point.loss === null && points[i - 1]?.loss !== null);
  if (!starts.length) return "";
  const first = starts[0].step.toLocaleString("en");
  return starts.length === 1 ? `The loss was not finite from step ${first} on: drawn as a gap.` : `The loss was not finite in ${starts.length} stretches, first at step ${first}: drawn as gaps.`;
}
