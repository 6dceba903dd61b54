// Shows a question only where the answer before it makes it one, or where something is wrong with it. Without this script all are there.
function show() {
  for (const part of document.querySelectorAll("[data-when]")) {
    const { when, is } = part.dataset, asked = is.split(" ").includes(part.closest("form").elements[when].value);
    part.hidden = !asked && !part.querySelector(".error-text");
  }
}

document.addEventListener("change", show);
show();
