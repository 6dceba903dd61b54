// What a change of a field does is said beside it as soon as it differs; and the chosen versions stay chosen.
const initial = (field) => (field.matches("select")
  ? [...field.options].find((option) => option.defaultSelected)?.value ?? field.options[0]?.value
  : field.defaultValue);

function look(field) {
  const changed = field.value !== initial(field);
  document.getElementById(field.dataset.effect)?.classList.toggle("changed", changed);
}

const fields = document.querySelectorAll("[data-effect]");
for (const field of fields) look(field);
document.addEventListener("input", ({ target }) => { if (target.matches("[data-effect]")) look(target); });

let chosen = [];
const radios = "#versions input[type=radio]";
document.addEventListener("htmx:beforeSwap", () => {
  const touched = [...document.querySelectorAll(`${radios}:checked`)].filter((radio) => !radio.defaultChecked);
  chosen = touched.map(({ name, value }) => `${radios}[name="${name}"][value="${value}"]`);
});
document.addEventListener("htmx:afterSwap", () => {
  for (const one of chosen) document.querySelectorAll(one).forEach((radio) => { radio.checked = true; });
});
