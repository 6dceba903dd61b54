// Which keeps of the progress chart get their words beside them: the best and the largest gains first, none over another.
const FONT = "12px";  // as in staircase.js
const LINE = 17;
const MOST = 14;
const FEW = 3;
const LIFTS = [0, 18, 36, 54, 72, 96];

/** Labels {number, score, text, lift, over}: none hits another, its line, a keep or the edges; `lift` px off its point.
 * Few find a place where the discarded crowd: the first FEW may then stand over those (`over`). */
export function place(data, layout, element, log) {
  const narrow = element.clientWidth < 560;
  const { l, r, t, b } = layout.margin;
  const width = element.clientWidth - l - r;
  const height = (element.clientHeight - t - b) * (layout.yaxis.domain[1] - layout.yaxis.domain[0]);
  const [x0, x1] = layout.xaxis.range;
  const [y0, y1] = layout.yaxis.range;
  const level = (score) => (log ? Math.log10(score) : score);
  const up = data.lower_is_better ? -1 : 1;  // into the half that the staircase has left
  const at = (point) => ({ x: ((point.number - x0) / (x1 - x0)) * width, y: (1 - (level(point.score) - y0) / (y1 - y0)) * height });
  const shown = (point) => { const { x, y } = at(point); return x >= 0 && x <= width && y >= 0 && y <= height; };
  const around = (point, size) => { const { x, y } = at(point); return { left: x - size, right: x + size, top: y - size, bottom: y + size, point }; };
  const keeps = data.kept.map((point) => around(point, 6));
  const others = [...data.discarded, ...data.reverted].map((point) => around(point, 4));
  const taken = [];
  const placed = [];
  const hit = (a, c) => a.left < c.right && c.left < a.right && a.top < c.bottom && c.top < a.bottom;
  const best = data.kept.at(-1);
  const order = data.kept.slice(1).filter(shown).sort((p, q) => (q === best) - (p === best) || (q.gain === null) - (p.gain === null) || Math.abs(q.gain) - Math.abs(p.gain)).slice(0, 120);

  const put = (point, over) => {
    const dot = at(point);
    const letter = widthOf(point.text) / (point.text.length || 1);
    const wanted = Math.min(narrow ? 24 : 34, point.text.length);
    const length = Math.min(wanted, Math.floor((width - dot.x - 8) / letter));
    const leftwards = length < Math.min(wanted, 14);  // near the right edge
    const text = clip(point.text, leftwards ? wanted : length);
    const size = widthOf(text) + 4;
    for (const lift of LIFTS) {
      const edge = dot.y + up * (lift + 5);
      const box = { left: leftwards ? dot.x - size : dot.x + 4, right: leftwards ? dot.x + 4 : dot.x + 4 + size, top: up < 0 ? edge - LINE : edge, bottom: up < 0 ? edge : edge + LINE };
      const line = { left: dot.x - 1, right: dot.x + 1, top: Math.min(dot.y, edge), bottom: Math.max(dot.y, edge) };
      if (box.top < 0 || box.bottom > height || box.left < 0) continue;
      if (taken.some((other) => hit(box, other) || (lift && hit(line, other)))) continue;
      if (keeps.some((keep) => keep.point !== point && (hit(box, keep) || (lift && hit(line, keep))))) continue;
      if (!over && others.some((other) => hit(box, other))) continue;
      taken.push(box, ...(lift ? [line] : []));
      placed.push({ number: point.number, score: point.score, text, lift: -up * lift, leftwards, over });
      return;
    }
  };
  for (const point of order) if (placed.length < (narrow ? 5 : MOST)) put(point, false);
  for (const point of order.filter(({ number }) => !placed.some((label) => label.number === number))) if (placed.length < FEW) put(point, true);
  return placed;
}

const pen = document.createElement("canvas").getContext("2d");

function widthOf(text) {
  pen.font = `${FONT} ${getComputedStyle(document.body).fontFamily}`;
  return pen.measureText(text).width;
}

function clip(text, length) {
  return text.length > length ? `${text.slice(0, length - 1).trimEnd()}…` : text;
}
