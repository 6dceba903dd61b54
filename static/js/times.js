// <time data-ago>: the absolute time of the HTML becomes a relative one; it stays in the title.
function words(seconds) {
  const ahead = seconds < 0;
  const s = Math.abs(seconds);
  if (s < 10) return "now";
  const text = s < 90 ? `${Math.round(s / 5) * 5} s`
    : s < 5400 ? `${Math.round(s / 60)} min`
    : s < 129600 ? `${Math.round(s / 3600)} h`
    : `${Math.round(s / 86400)} days`;
  return ahead ? `in ${text}` : `${text} ago`;
}

export function refreshTimes(root = document) {
  for (const time of root.querySelectorAll("time[data-ago]")) {
    const text = words((Date.now() - Date.parse(time.dateTime)) / 1000);
    if (time.textContent !== text) time.textContent = text;
  }
}

refreshTimes();
setInterval(refreshTimes, 5000);
document.addEventListener("htmx:load", (event) => refreshTimes(event.target));
