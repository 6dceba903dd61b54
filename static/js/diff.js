// Copying a diff, a prompt or a reply: <button data-copy="id"> takes the text of an element, data-copy-from="/url" what is there.
function byHand(text) {  // without https there is no clipboard to write to
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "sr";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("refused");
}

async function copy(button) {
  const { copy: id, copyFrom: url } = button.dataset;
  const text = id ? document.getElementById(id).textContent : await (await fetch(url)).text();
  if (navigator.clipboard) await navigator.clipboard.writeText(text);
  else byHand(text);
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy], [data-copy-from]");
  if (!button) return;
  button.dataset.label ??= button.textContent;
  try {
    await copy(button);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not copied: download it";
  }
  setTimeout(() => { button.textContent = button.dataset.label; }, 2500);
});
