// Sets the theme before the first paint, and switches it: system, light, dark.
(() => {
  const order = ["", "light", "dark"];
  const names = { "": "as the system", light: "light", dark: "dark" };
  const root = document.documentElement;
  const read = () => { try { return localStorage.getItem("theme") || ""; } catch { return ""; } };
  const write = (theme) => { try { localStorage.setItem("theme", theme); } catch { /* private window: this page only */ } };

  function apply(theme) {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme;
    for (const button of document.querySelectorAll("[data-theme-switch]")) button.title = `Colours: ${names[theme] ?? names[""]}`;
    document.dispatchEvent(new Event("theme"));
  }

  let theme = read();
  apply(theme);
  document.addEventListener("DOMContentLoaded", () => apply(theme));
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("[data-theme-switch]")) return;
    theme = order[(order.indexOf(theme) + 1) % order.length];
    write(theme);
    apply(theme);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("theme")));
})();
