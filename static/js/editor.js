// CodeMirror over a textarea, which stays the form's field: what is typed in the one is in the other at once.
import {
  Decoration, EditorState, EditorView, HighlightStyle, MergeView, ViewPlugin, bracketMatching, defaultKeymap, highlightActiveLine,
  highlightSelectionMatches, highlightSpecialChars, history, historyKeymap, indentOnInput, indentUnit, indentWithTab, keymap,
  lineNumbers, markdown, markdownKeymap, python, search, searchKeymap, syntaxHighlighting, tags as t,
} from "../vendor/codemirror.min.js";

const colours = HighlightStyle.define([
  { tag: [t.keyword, t.operatorKeyword, t.modifier, t.self], color: "var(--syn-word)" },
  { tag: [t.string, t.special(t.string), t.monospace], color: "var(--syn-text)" },
  { tag: [t.number, t.bool, t.null], color: "var(--syn-num)" },
  { tag: [t.comment, t.processingInstruction, t.contentSeparator], color: "var(--syn-note)" },
  { tag: [t.definition(t.variableName), t.function(t.variableName), t.className, t.link, t.url], color: "var(--syn-name)" },
  { tag: t.heading, color: "var(--syn-name)", fontWeight: "650" },
  { tag: t.strong, fontWeight: "650" },
  { tag: t.emphasis, fontStyle: "italic" },
  { tag: t.strikethrough, textDecoration: "line-through" },
]);

const theme = EditorView.theme({
  "&": { backgroundColor: "var(--card)", color: "var(--ink)" },
  "&.cm-focused": { outline: "2px solid var(--accent)", outlineOffset: "-2px" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.6" },
  ".cm-content": { caretColor: "var(--ink)", padding: "10px 0" },
  ".cm-line": { padding: "0 14px 0 8px" },
  ".cm-gutters": { backgroundColor: "transparent", color: "var(--dim)", border: "0" },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "var(--sunk)" },
  ".cm-selectionMatch": { backgroundColor: "var(--accent-soft)" },
  ".cm-searchMatch": { backgroundColor: "var(--wait-soft)", outline: "1px solid var(--wait)" },
  ".cm-searchMatch-selected": { backgroundColor: "var(--accent-soft)", outlineColor: "var(--accent)" },
  "&.cm-focused .cm-matchingBracket": { backgroundColor: "var(--accent-soft)" },
  ".cm-specialChar": { color: "var(--fail)" },
  ".cm-panels, .cm-panels.cm-panels-top, .cm-panels.cm-panels-bottom": { backgroundColor: "var(--sunk)", color: "var(--ink)", borderColor: "var(--line)" },
  ".cm-button": { backgroundImage: "none", backgroundColor: "var(--card)", borderColor: "var(--line-strong)" },
  ".cm-textfield": { backgroundColor: "var(--card)", borderColor: "var(--line-strong)" },
  ".cm-collapsedLines:before, .cm-collapsedLines:after": { content: '"···"' },
  ".cm-collapsedLines": { background: "var(--sunk)", color: "var(--dim)" },
});

// Each line runs in its own direction, and the caret knows it
const own = Decoration.line({ attributes: { dir: "auto" } });
const lines = (view) => Decoration.set(view.visibleRanges.flatMap(({ from, to }) => {
  const found = [];
  for (let at = from; at <= to;) { const line = view.state.doc.lineAt(at); found.push(own.range(line.from)); at = line.to + 1; }
  return found;
}), true);
const directions = ViewPlugin.fromClass(class {
  constructor(view) { this.lines = lines(view); }
  update(update) { if (update.docChanged || update.viewportChanged) this.lines = lines(update.view); }
}, { decorations: (plugin) => plugin.lines });

const languages = {
  markdown: () => [markdown(), keymap.of(markdownKeymap)],
  python: () => [python(), indentUnit.of("    "), indentOnInput(), bracketMatching(), keymap.of([indentWithTab])],
  text: () => [],
};

const basics = (language, label) => [
  lineNumbers(), history(), search({ top: true }), highlightActiveLine(), highlightSelectionMatches(), highlightSpecialChars(),
  syntaxHighlighting(colours), EditorView.lineWrapping, EditorView.perLineTextDirection.of(true), directions, theme,
  languages[language](), keymap.of([...defaultKeymap, ...historyKeymap, ...searchKeymap]),
  EditorView.contentAttributes.of({ "aria-label": label, spellcheck: "false", tabindex: "0" }),
];

const follows = (textarea) => EditorView.updateListener.of((update) => {
  if (!update.docChanged) return;
  textarea.value = update.state.doc.toString();
  textarea.dispatchEvent(new Event("input", { bubbles: true }));
});

/** An editor in the textarea's place. `data-editor` names the language. */
export function edit(textarea) {
  const extensions = [...basics(textarea.dataset.editor, textarea.labels[0]?.textContent ?? textarea.name), follows(textarea)];
  const view = new EditorView({ doc: textarea.value, extensions });
  if (document.activeElement === textarea) setTimeout(() => view.focus());
  textarea.before(view.dom);
  textarea.hidden = true;
  return view;
}

export function setText(view, text) {
  if (view.state.doc.toString() !== text) view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } });
}

/** Theirs, which stays as it is, beside mine, which is the textarea's. Returns the editor of mine. */
export function merge(parent, theirs, textarea, [left, right]) {
  const a = { doc: theirs, extensions: [...basics("markdown", left), EditorState.readOnly.of(true)] };
  const b = { doc: textarea.value, extensions: [...basics("markdown", right), follows(textarea)] };
  const collapseUnchanged = { margin: 3, minSize: 6 };
  return new MergeView({ a, b, parent, collapseUnchanged, revertControls: "a-to-b", highlightChanges: true }).b;
}
