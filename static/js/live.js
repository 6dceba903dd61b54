// The socket: hints that something changed, and new stream data. It reconnects, resyncs and says when it is away.
const { socket: url, beat: beatSeconds } = document.body.dataset;
const BEAT_MS = beatSeconds * 1000;  // a line that is silent for so long leads nowhere: a lid was closed, a network went away
const RESYNC_MS = 3 * BEAT_MS;
const strip = document.querySelector("[data-offline]");
let tries = 0;
let awaySince = null;
let pending = null;

function refresh() {
  clearTimeout(pending);
  pending = null;
  window.htmx?.trigger(document.body, "refresh");
}

/** At the end of a burst, and in the middle of a long one. */
function refreshSoon() {
  pending ??= setTimeout(refresh, 150);
}

function resync() {
  if (document.hidden) return;
  document.dispatchEvent(new Event("live:resync"));
  refresh();
}

function showOffline() {
  awaySince ??= new Date();
  const at = awaySince.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  strip.textContent = `Offline since ${at}, trying again. What you see may be old.`;
  strip.hidden = false;
}

function connect() {
  const socket = new WebSocket(url.replace(/^\//, `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/`));
  let asked = null;  // when; null once it has answered
  const beat = setInterval(() => {
    if (asked || socket.readyState === WebSocket.CONNECTING) { lost(); return; }
    asked = new Date();
    socket.send("ping");
  }, BEAT_MS);

  function lost() {
    clearInterval(beat);
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    if (leaving) return;
    awaySince ??= asked ?? new Date();
    if (asked || tries > 0) showOffline();  // one quick reconnect goes unmentioned
    setTimeout(connect, Math.min(500 * 2 ** tries++, 8000));
  }
  socket.onclose = lost;
  socket.onopen = () => {
    const back = awaySince !== null || tries > 0;
    tries = 0;
    awaySince = null;
    strip.hidden = true;
    if (back) resync();
  };
  socket.onmessage = ({ data }) => {
    asked = null;
    const message = JSON.parse(data);
    if (message.type === "stream") document.dispatchEvent(new CustomEvent("live:stream", { detail: message }));
    else if (message.type === "changed") refreshSoon();
  };
}

let leaving = false;
addEventListener("pagehide", () => { leaving = true; });
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
if (url) {
  connect();
  setInterval(resync, RESYNC_MS);
  document.addEventListener("visibilitychange", resync);
}
