// <time data-ago>: the absolute time of the HTML becomes a relative one; it stays in the title.
// <time data-clock>: the server's time of day becomes the reader's.
function words(seconds) {
  const ahead = seconds < 0;
  const s = Math.abs(seconds);
  if (s < 10) return "now";
  const text = s < 90 ? `${Math.round(s / 5) * 5} s`
    : s < 5400 ? `${Math.round(s / 60)} min`
    : s < 43200 ? `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, "0")}`
    : s < 129600 ? `${Math.round(s / 3600)} h`
    : `${Math.round(s / 86400)} days`;
  return ahead ? `in ${text}` : `${text} ago`;
}

function clock(at) {
  const time = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const today = at.toDateString() === new Date().toDateString();
  return today ? time : `${at.toLocaleDateString([], { weekday: "short" })} ${time}`;
}

export function refreshTimes(root = document) {
  for (const time of root.querySelectorAll("time[data-ago]")) {
    const text = words((Date.now() - Date.parse(time.dateTime)) / 1000);
    if (time.textContent !== text) time.textContent = text;
  }
  for (const time of root.querySelectorAll("time[data-clock]")) time.textContent = clock(new Date(time.dateTime));
}

refreshTimes();
setInterval(refreshTimes, 5000);
document.addEventListener("htmx:load", (event) => refreshTimes(event.target));
