// Shows a question only where the answer before it makes it one. Without this script all of them are there.
const form = document.querySelector("[data-new]");

function show() {
  for (const part of form.querySelectorAll("[data-when]")) part.hidden = form.elements[part.dataset.when].value !== part.dataset.is;
}

form.addEventListener("change", show);
show();
