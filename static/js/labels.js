// Which keeps of the progress chart get their words beside them: the largest gains first, none over another.
const LETTER = 6.3;
const LINE = 18;
const MOST = 14;

/** Labels {number, score, text} that collide neither with each other, nor with a keep, nor with the edges. */
export function place(data, layout, element, narrow) {
  const { l, r, t, b } = layout.margin;
  const width = element.clientWidth - l - r;
  const height = (element.clientHeight - t - b) * 0.92;
  const [x0, x1] = layout.xaxis.range;
  const [y0, y1] = data.range;
  const at = (point) => ({ x: ((point.number - x0) / (x1 - x0)) * width, y: (1 - (point.score - y0) / (y1 - y0)) * height });
  const dots = data.kept.map((point) => ({ ...at(point), point }));
  const placed = [];
  const gains = data.kept.slice(1).sort((p, q) => Math.abs(q.gain) - Math.abs(p.gain));
  for (const point of gains) {
    if (placed.length >= (narrow ? 4 : MOST)) break;
    const dot = at(point);
    const room = Math.floor((width - dot.x - 8) / LETTER);
    const most = Math.min(narrow ? 22 : 34, room);
    if (most < 10) continue;
    const text = point.text.length > most ? `${point.text.slice(0, most - 1)}…` : point.text;
    const top = data.lower_is_better ? dot.y - 3 - LINE : dot.y + 3;
    const box = { left: dot.x + 6, right: dot.x + 8 + text.length * LETTER, top, bottom: top + LINE };
    const hits = (other) => box.left < other.right && other.left < box.right && box.top < other.bottom && other.top < box.bottom;
    const onDot = dots.some(({ x, y, point: its }) => its !== point && hits({ left: x - 5, right: x + 5, top: y - 5, bottom: y + 5 }));
    if (box.top < 0 || box.bottom > height || onDot || placed.some((label) => hits(label.box))) continue;
    placed.push({ number: point.number, score: point.score, text, box });
  }
  return placed;
}
