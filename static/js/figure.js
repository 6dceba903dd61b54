// What both charts share: colours of the theme, the plain layout, one way to draw.
export function colours() {
  const style = getComputedStyle(document.documentElement);
  const get = (name) => style.getPropertyValue(`--${name}`).trim();
  return Object.fromEntries(["card", "line", "ink", "dim", "faint", "accent", "keep", "fail"].map((name) => [name, get(name)]));
}

/** Axes in the page's font and colours; hover as one quiet box. */
export function baseLayout(c, extra) {
  const axis = { gridcolor: c.line, zeroline: false, linecolor: c.line, tickfont: { color: c.dim, size: 12 }, fixedrange: false };
  const family = getComputedStyle(document.body).fontFamily;
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, uirevision: "keep", dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    font: { family, size: 12, color: c.ink },
    margin: { l: 54, r: 12, t: 8, b: 34 }, hovermode: "closest",
    hoverlabel: { bgcolor: c.card, bordercolor: c.faint, font: { family, color: c.ink, size: 12 }, align: "left" },
    ...extra,
    xaxis: { ...axis, showgrid: false, ...extra.xaxis }, yaxis: { ...axis, ...extra.yaxis },
  };
}

export function draw(element, traces, layout) {
  element.querySelector("[data-empty]")?.remove();
  return window.Plotly.react(element, traces, layout, { displayModeBar: false, responsive: true, doubleClick: "reset" });
}

const shown = new Map();  // chart -> what ends its listeners

/** Hear events of the document until a swap takes `element` off the page; then let go of all that its chart holds. */
export function whileShown(element, listeners) {
  const stop = new AbortController();
  for (const [type, heard] of Object.entries(listeners)) document.addEventListener(type, heard, { signal: stop.signal });
  shown.set(element, stop);
}
document.addEventListener("htmx:afterSettle", () => {
  for (const [element, stop] of shown) {
    if (element.isConnected) continue;
    stop.abort();
    shown.delete(element);
    if (element.data) window.Plotly.purge(element);
  }
});

/** Text from people and models: Plotly reads a little HTML, so no angle bracket may reach it. */
export function plain(text, width = 60) {
  const cut = text.length > width ? `${text.slice(0, width - 1)}…` : text;
  return cut.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

export const signed = (value, digits) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;
