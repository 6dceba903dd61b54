// Readers of streams by cursor, and text that grows: <pre data-stream="log" data-experiment="7" data-limit="40000">.
const readers = new Set();
const READ_LIMIT = 2_000_000;  // as in models/stream.py
export const PATIENCE_MS = 15_000;  // a line that went dead must not hold up what comes after it
const OPEN = /\r$|\x1b(\[[0-9;:]*)?$|$/;  // half of a \r\n, or of a colour, perhaps
const CONTROLS = /\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g;  // log.js shows colours; here is plain text

export class Reader {
  /** `element` owns the reader: when it leaves the page, reading ends. `restart(attempt, offset)` empties, `add(data, offset)` appends.
   *  With `tail` a long text is read from near its end, and again so when the reader has fallen far behind. */
  constructor(element, experiment, stream, { restart, add, tail = false }) {
    Object.assign(this, { element, experiment: Number(experiment), stream, restart, add, tail, attempt: 0, cursor: 0, again: false });
    readers.add(this);
    this.fetch();
  }

  take(message) {
    if (message.attempt === this.attempt && message.offset === this.cursor) {
      this.cursor = message.next;
      this.add(message.data, message.offset);
    } else if (message.attempt !== this.attempt || message.next > this.cursor) this.fetch();
  }

  async fetch() {
    if (this.busy) { this.again = true; return; }
    this.busy = true;
    try {
      const answer = await fetch(`/experiments/${this.experiment}/${this.stream}?after=${this.cursor}&attempt=${this.attempt}${this.stream === "series" ? "&points=1500" : ""}${this.tail ? "&tail=1" : ""}`, { signal: AbortSignal.timeout(PATIENCE_MS) });
      if (!answer.ok || answer.redirected) return;
      const part = await answer.json();
      if (part.attempt !== this.attempt || part.offset !== this.cursor) {
        // offset 0, further on, or another attempt: afresh; anything else was overtaken by a message
        if (part.attempt === this.attempt && part.offset !== 0 && part.offset <= this.cursor) { this.again = true; return; }
        this.restart(part.attempt, part.offset);
        this.attempt = part.attempt;
      }
      this.cursor = part.next;
      if (this.tail) this.add(part.data.join(""), part.offset);
      else for (const data of part.data) this.add(data, part.offset);
      if (part.data.join("").length > READ_LIMIT) this.again = true;  // the server stopped there: there is more
    } catch { /* the resync tries again */ } finally {
      this.busy = false;
      if (this.again) { this.again = false; this.fetch(); }
    }
  }
}

function each(action) {
  for (const reader of readers) {
    if (reader.element.isConnected) action(reader);
    else readers.delete(reader);
  }
}

document.addEventListener("live:stream", ({ detail }) => each((reader) => {
  if (reader.experiment === detail.experiment && reader.stream === detail.stream) reader.take(detail);
}));
document.addEventListener("live:resync", () => each((reader) => reader.fetch()));

/** Text in one node, cut at the top; follows the end unless somebody has scrolled up. */
export function growText(element) {
  const limit = Number(element.dataset.limit || 200_000);
  const empty = element.textContent;
  let node = null;
  let held = "";
  new Reader(element, element.dataset.experiment, element.dataset.stream, {
    tail: true,
    restart() { element.textContent = empty; node = null; held = ""; },
    add(data) {
      const follows = element.scrollHeight - element.scrollTop - element.clientHeight < 30;
      if (!data) return;
      let text = held + data;
      held = OPEN.exec(text)[0];
      text = text.slice(0, text.length - held.length).replace(/\r\n?/g, "\n").replace(CONTROLS, "");
      if (!node) { node = document.createTextNode(""); element.replaceChildren(node); }
      node.appendData(text);
      if (node.length > limit) node.deleteData(0, node.data.indexOf("\n", node.length - limit * 0.8) + 1 || node.length - limit);
      if (follows) element.scrollTop = element.scrollHeight;
    },
  });
}

/** Run `start` once on each element of `selector`, now and in every fragment that comes. */
export function onElements(selector, start) {
  const scan = () => {
    for (const element of document.querySelectorAll(selector)) {
      if (element.started) continue;
      element.started = true;
      start(element);
    }
  };
  scan();
  document.addEventListener("htmx:load", scan);
}

onElements("[data-stream]", growText);
