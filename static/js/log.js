// A long log: its end at first, earlier lines by steps, follow, find. <div data-log data-experiment="7"> inside [data-log-card].
import { Terminal } from "./ansi.js";
import { finder } from "./find.js";
import { Reader, onElements } from "./stream.js";

const BLOCK = 32_000;        // characters: what is dropped at once when the page holds too much
const LIVE_LIMIT = 1_000_000;  // held while it grows by itself
const MOST = 6_000_000;      // held when somebody asks for earlier lines

onElements("[data-log]", (element) => {
  const card = element.closest("[data-log-card]");
  const find = (name) => card.querySelector(`[data-log-${name}]`);
  const [tools, input, count, follow, earlier] = ["tools", "find", "count", "follow", "earlier"].map(find);
  let blocks, terminal, size, attempt, whole;  // blocks: {node, offset, size, open}, from the top; whole: the first line shown is

  function restart(nowAttempt = 0, offset = 0) {
    [blocks, size, attempt, whole] = [[], 0, nowAttempt, offset === 0];
    terminal = new Terminal((line) => blocks.at(-1).node.append(line));
    element.replaceChildren();
    showEarlier();
  }

  function block(offset, first = false) {
    const made = { node: document.createElement("div"), offset, size: 0 };
    if (first) { blocks.unshift(made); element.prepend(made.node); } else { blocks.push(made); element.append(made.node); }
    return made;
  }

  function add(data, offset) {
    if (!data) return;
    if (blocks.at(-1)?.size > BLOCK) blocks.at(-1).open = Boolean(terminal.element);  // its last line goes on in the next one
    if (!blocks.length || blocks.at(-1).size > BLOCK) block(offset);
    blocks.at(-1).size += data.length;
    size += data.length;
    terminal.feed(data);
    if (follow.checked || size > MOST) dropOld();
    if (follow.checked) element.scrollTop = element.scrollHeight;
    tools.hidden = false;
    searchSoon();
  }

  function dropOld() {
    while (size > LIVE_LIMIT && blocks.length > 1) {
      const old = blocks.shift();
      if (old.open && old.node.lastElementChild) blocks[0].node.prepend(old.node.lastElementChild);
      old.node.remove();
      size -= old.size;
      whole = true;
    }
    showEarlier();
  }

  function showEarlier() {
    const offset = blocks[0]?.offset ?? 0;
    earlier.hidden = offset === 0;
    const full = size > MOST;
    earlier.firstElementChild.hidden = full;
    earlier.lastElementChild.textContent = `${(offset / 1e6).toFixed(offset < 1e6 ? 2 : 1)} MB stand before this${full ? ": download the log to read them" : ""}.`;
  }

  async function loadEarlier() {
    const [before, mine] = [blocks[0].offset, attempt];
    earlier.firstElementChild.disabled = true;
    try {
      const answer = await fetch(`/experiments/${element.dataset.experiment}/log?before=${before}&attempt=${mine}`);
      if (!answer.ok || answer.redirected) throw new Error("refused");
      const part = await answer.json();
      if (attempt !== mine || blocks[0]?.offset !== before) return;
      follow.checked = false;
      prepend(part.data.join(""), part.data.length ? part.offset : 0);
    } catch { earlier.lastElementChild.textContent = "The server did not answer. Try again in a moment."; } finally {
      earlier.firstElementChild.disabled = false;
    }
  }

  function prepend(text, offset) {
    const [below, first] = [element.scrollHeight - element.scrollTop, blocks[0].node.firstElementChild];
    const made = block(offset, true);
    const past = new Terminal((line) => made.node.append(line));
    past.feed(text);
    const last = past.element;
    if (last && first && !text.endsWith("\n")) {  // a line that was cut in two
      if (!whole) first.prepend(...last.childNodes);
      last.remove();
    }
    [made.size, size, whole] = [text.length, size + text.length, offset === 0];
    element.scrollTop = element.scrollHeight - below;
    showEarlier();
    search();
  }

  element.addEventListener("scroll", () => { follow.checked = element.scrollHeight - element.scrollTop - element.clientHeight < 30; });
  follow.addEventListener("change", () => { if (follow.checked) element.scrollTop = element.scrollHeight; });
  earlier.firstElementChild.addEventListener("click", loadEarlier);
  const { search, searchSoon } = finder(element, input, count, card, () => { follow.checked = false; });
  restart();
  new Reader(element, element.dataset.experiment, "log", { restart, add, tail: true });
});
