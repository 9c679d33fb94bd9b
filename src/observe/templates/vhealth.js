"use strict";
// Puts in place what the router tells has changed. Without this script the page is loaded anew now and then.
(() => {
  const main = document.querySelector("main"), live = document.getElementById("live");
  const say = text => { if (live.textContent !== text) live.textContent = text; };
  const told = () => {
    document.title = document.getElementById("summary").dataset.title + "";
    say("Live");
  };
  if (new URLSearchParams(location.search).has("still")) return;
  say("Connecting");
  const events = new EventSource("vhealth/events" + location.search);
  events.addEventListener("parts", event => {
    for (const [id, html] of Object.entries(JSON.parse(event.data))) {
      const old = document.getElementById(id);
      if (old) old.outerHTML = html;
    }
    told();
  });
  events.addEventListener("whole", event => {
    const focused = document.activeElement && document.activeElement.id;
    const scrolled = [...main.querySelectorAll(".wide")].map(wide => wide.scrollLeft);
    main.innerHTML = JSON.parse(event.data);
    main.querySelectorAll(".wide").forEach((wide, at) => { wide.scrollLeft = scrolled[at] || 0; });
    if (focused && document.activeElement === document.body) document.getElementById(focused)?.focus();
    told();
  });
  events.onerror = () => say(events.readyState === EventSource.CLOSED ? "Not live any more: load the page again" : "Not live, connecting again");
})();
