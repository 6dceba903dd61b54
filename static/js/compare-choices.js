// What is chosen on the compare page stands in its address, in nothing else: the link can be shared, reloaded, gone back to.
import { onElements } from "./stream.js";

export const USUAL = { x: "step", y: "loss", smooth: "0", logx: "", logy: "", off: "" };
export const UNITS = { step: "step", tokens: "tokens", seconds: "training, s" };
const asked = new URLSearchParams(location.search);
export const choice = Object.fromEntries(Object.entries(USUAL).map(([name, usual]) => [name, asked.get(name) ?? usual]));
if (!UNITS[choice.x]) choice.x = USUAL.x;
if (!(choice.smooth >= 0 && choice.smooth <= 0.99)) choice.smooth = USUAL.smooth;

/** This address with other values; an empty one is left out. */
function address(values) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(values)) query.set(name, value);
  for (const [name, value] of [...query]) if (!value || value === USUAL[name]) query.delete(name);
  return `?${query.toString().replaceAll("%2C", ",")}`;
}

export function choose(name, value) {
  choice[name] = value;
  history.replaceState(history.state, "", address({ [name]: value }) + location.hash);
}
// Links and forms carry what has been chosen since they were written
for (const type of ["pointerdown", "focusin"]) {
  document.addEventListener(type, ({ target }) => {
    const link = target.closest?.("a[data-carry]");
    if (link) link.search = address(Object.fromEntries(new URLSearchParams(link.search)));
  });
}
document.addEventListener("htmx:configRequest", ({ detail }) => {
  const [path, own] = detail.path.split("?");
  const query = new URLSearchParams(address(Object.fromEntries(new URLSearchParams(own))));
  for (const [name] of detail.formData) query.delete(name);
  detail.path = `${path}?${query}`;
});
onElements("input[data-rest]", (input) => input.remove());
