// Shows a question only where the answer before it makes it one, or where something is wrong with it. Without this script all are there.
function show() {
  for (const part of document.querySelectorAll("[data-when]")) {
    const asked = part.closest("form").elements[part.dataset.when].value === part.dataset.is;
    part.hidden = !asked && !part.querySelector(".error-text");
  }
}

document.addEventListener("change", show);
show();
