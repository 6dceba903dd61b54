// What needs a person, where they look when they look elsewhere: the tab's title and icon, and a notification if they asked.
const KEY = "notify";
const icon = document.querySelector("link[rel=icon]");
const plainIcon = icon?.href;
const asks = document.querySelectorAll("[data-notify]");
const read = () => { try { return localStorage.getItem(KEY) === "1"; } catch { return false; } };
const write = (on) => { try { localStorage.setItem(KEY, on ? "1" : "0"); } catch { /* private window: until it is closed */ } };
let wanted = read();
let known = null;

const count = () => parseInt(document.querySelector("#need-pill")?.textContent, 10) || 0;

function show() {
  const now = count();
  document.title = (now ? `(${now}) ` : "") + document.title.replace(/^\(\d+\) /, "");
  if (icon) icon.href = now ? icon.dataset.need : plainIcon;
  if (known !== null && now > known && wanted && document.hidden && Notification.permission === "granted") {
    const text = now === 1 ? "One run waits for you." : `${now} decisions wait for you.`;
    const note = new Notification("autoresearch", { body: text, tag: "needs", icon: icon?.dataset.need });
    note.onclick = () => { window.focus(); note.close(); };
  }
  known = now;
}

function label() {
  const on = wanted && Notification.permission === "granted";
  for (const button of asks) {
    button.hidden = false;
    button.setAttribute("aria-pressed", on);
    button.textContent = Notification.permission === "denied" ? "Notifications: blocked in the browser"
      : on ? "Notifications: on" : "Notify me when a run needs me";
  }
}

if (window.Notification && window.isSecureContext) {
  label();
  document.addEventListener("click", async (event) => {
    if (!event.target.closest?.("[data-notify]")) return;
    const on = wanted && Notification.permission === "granted";
    wanted = !on && await Notification.requestPermission() === "granted";
    write(wanted);
    label();
  });
}
show();
document.addEventListener("htmx:afterSettle", show);
