// Finds words in the lines of an element and marks them: by CSS highlights, so that the lines themselves stay as they are.
const MOST = 5_000;

/** The text nodes of a line as one range from `start` to `end`. */
function rangeOf(line, start, end) {
  const range = document.createRange();
  const nodes = document.createTreeWalker(line, NodeFilter.SHOW_TEXT);
  let at = 0;
  for (let node = nodes.nextNode(); node; node = nodes.nextNode()) {
    const after = at + node.length;
    if (start >= at && start < after) range.setStart(node, start - at);
    if (end > at && end <= after) { range.setEnd(node, end - at); break; }
    at = after;
  }
  return range;
}

function mark(name, ranges) {
  if (!globalThis.CSS?.highlights) return;
  if (ranges.length) CSS.highlights.set(name, new Highlight(...ranges));
  else CSS.highlights.delete(name);
}

/** Joins a search box, its count and its buttons [data-log-step] to the lines of `element`; `onMove` before it scrolls. */
export function finder(element, input, count, card, onMove) {
  let hits = [];
  let at = -1;
  let timer = null;

  function search() {
    clearTimeout(timer);
    timer = null;
    const words = input.value.toLowerCase();
    hits = [];
    if (words) {
      for (const line of element.querySelectorAll(".line")) {
        const text = line.textContent.toLowerCase();
        for (let i = text.indexOf(words); i >= 0 && hits.length < MOST; i = text.indexOf(words, i + words.length)) hits.push([line, i, i + words.length]);
      }
    }
    at = Math.min(at, hits.length - 1);
    mark("log-hits", hits.map((hit) => rangeOf(...hit)));
    show();
  }

  function show() {
    const total = hits.length === MOST ? `the first ${MOST.toLocaleString("en")}` : hits.length.toLocaleString("en");
    count.textContent = !input.value ? "" : !hits.length ? "not in what is loaded" : at < 0 ? `${total} found` : `${at + 1} of ${total}`;
    mark("log-hit", at < 0 || !hits[at] ? [] : [rangeOf(...hits[at])]);
  }

  function move(step) {
    if (!hits.length) return;
    at = at < 0 ? (step > 0 ? 0 : hits.length - 1) : (at + step + hits.length) % hits.length;
    onMove();
    const place = rangeOf(...hits[at]).getBoundingClientRect();
    const box = element.getBoundingClientRect();
    element.scrollTop += place.top - box.top - box.height / 2;
    if (place.left < box.left || place.right > box.right) element.scrollLeft += place.left - box.left - box.width / 2;
    show();
  }

  const searchSoon = () => { if (input.value) timer ??= setTimeout(search, 400); };
  input.addEventListener("input", () => { at = -1; search(); });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") { event.preventDefault(); move(event.shiftKey ? -1 : 1); }
    if (event.key === "Escape" && input.value) { input.value = ""; at = -1; search(); }
  });
  for (const button of card.querySelectorAll("[data-log-step]")) button.addEventListener("click", () => move(Number(button.dataset.logStep)));
  return { search, searchSoon };
}
