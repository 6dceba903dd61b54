// Keys: a button carries data-key="a"; ? shows the list. Never while somebody types.
const typing = (element) => element.closest?.("input, textarea, select, [contenteditable]");
const visible = (element) => element.getClientRects().length && !element.disabled;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || typing(event.target)) return;
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "?") {
    event.preventDefault();
    document.getElementById("keys")?.showModal();
    return;
  }
  const wanted = event.key.toLowerCase();
  const target = [...document.querySelectorAll("[data-key]")].find((element) => element.dataset.key === wanted && visible(element));
  if (!target) return;
  event.preventDefault();
  if (target.matches("input, textarea")) target.focus();
  else target.click();
});
