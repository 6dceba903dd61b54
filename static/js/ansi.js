// What a terminal makes of a log: colours as classes, carriage returns and backspaces done, other control codes gone. Lines are
// <div class="line">, text only ever becomes text nodes; a line that is still being written is drawn again.
const ESCAPE = /\x1b\[([0-?]*)[ -/]*([@-~])|\x1b[\]PX^_][^\x07\x1b]{0,2000}(?:\x07|\x1b\\)|\x1b[ -/]*[0-OQ-WYZ\\`-~]/y;
const OPEN = /\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]{0,2000}|[ -/]*)$/;  // an escape whose end may come later
const TEXT = /[^\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]+/y;

const SETS = { 1: ["weight", "ansi-bold"], 2: ["weight", "ansi-faint"], 3: ["slant", "ansi-italic"], 4: ["line", "ansi-underline"] };
const CLEARS = { 22: "weight", 23: "slant", 24: "line", 39: "ink", 49: "ground" };

/** The classes that the codes of one colour command leave. */
function styled(style, codes) {
  const next = { ...style };
  const list = codes.split(/[;:]/).map(Number);
  for (let i = 0; i < list.length; i++) {
    const code = list[i];
    if (code === 0) for (const key of Object.keys(next)) delete next[key];
    else if (SETS[code]) next[SETS[code][0]] = SETS[code][1];
    else if (CLEARS[code]) delete next[CLEARS[code]];
    else if (code % 10 < 8 && [3, 9].includes(Math.floor(code / 10))) next.ink = `ansi-${code % 10}`;
    else if (code % 10 < 8 && [4, 10].includes(Math.floor(code / 10))) next.ground = `ansi-on-${code % 10}`;
    else if (code === 38 || code === 48) {  // of 256 colours the first 16 have a name here; true colours have none
      if (list[i + 1] === 5 && list[i + 2] < 16) next[code === 38 ? "ink" : "ground"] = `ansi-${code === 48 ? "on-" : ""}${list[i + 2] % 8}`;
      i += list[i + 1] === 5 ? 2 : 4;
    }
  }
  return next;
}

export class Terminal {
  constructor(show) {  // `show(element)` gets each new line, in order
    Object.assign(this, { show, style: {}, held: "", column: 0, length: 0, parts: [], element: null });
  }

  feed(data) {
    let text = this.held + data;
    const open = text.endsWith("\r") ? text.length - 1 : text.slice(-2100).search(OPEN);  // half of \r\n, or of an escape
    const cut = open < 0 ? text.length : text.endsWith("\r") ? open : Math.max(0, text.length - 2100) + open;
    this.held = text.slice(cut);
    text = text.slice(0, cut);
    for (let at = 0; at < text.length;) at = this.step(text, at);
    this.draw();
  }

  step(text, at) {
    TEXT.lastIndex = ESCAPE.lastIndex = at;
    const plain = TEXT.exec(text);
    if (plain) { this.write(plain[0]); return TEXT.lastIndex; }
    const letter = text[at];
    if (letter === "\n") { if (!this.element) this.line(); this.draw(); this.parts = []; this.column = this.length = 0; this.element = null; }
    else if (letter === "\r") { if (text[at + 1] !== "\n") this.column = 0; }
    else if (letter === "\b") this.column = Math.max(0, this.column - 1);
    else if (letter === "\x1b") {
      const escape = ESCAPE.exec(text);
      if (!escape) return at + 1;
      if (escape[2] === "m") this.style = styled(this.style, escape[1] || "0");
      if (escape[2] === "K") this.erase(escape[1] === "2" ? 0 : this.column);
      return ESCAPE.lastIndex;
    }
    return at + 1;
  }

  erase(from) {
    this.parts = this.slice(0, from);
    this.length = Math.min(this.length, from);
  }

  /** The parts [text, classes] of the line between two columns. */
  slice(from, to) {
    let at = 0;
    return this.parts.flatMap(([text, css]) => {
      const piece = text.slice(Math.max(0, from - at), Math.max(0, to - at));
      at += text.length;
      return piece ? [[piece, css]] : [];
    });
  }

  write(text) {
    const part = [" ".repeat(Math.max(0, this.column - this.length)) + text, Object.values(this.style).join(" ")];
    const last = this.parts.at(-1);
    if (this.column >= this.length && last?.[1] === part[1]) last[0] += part[0];
    else if (this.column >= this.length) this.parts.push(part);
    else this.parts = [...this.slice(0, this.column), part, ...this.slice(this.column + text.length, this.length)];
    this.column += text.length;
    this.length = Math.max(this.length, this.column);
  }

  line() {
    this.element = document.createElement("div");
    this.element.className = "line";
    this.show(this.element);
  }

  draw() {
    if (!this.element && this.parts.length) this.line();
    this.element?.replaceChildren();
    for (const [text, css] of this.element ? this.parts : []) {
      const span = css ? document.createElement("span") : document.createTextNode(text);
      if (css) [span.className, span.textContent] = [css, text];
      this.element.append(span);
    }
  }
}
