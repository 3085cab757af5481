// Copy buttons, times in the reader's time zone, and polling for the outcome of a request.
"use strict";

const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });

for (const time of document.querySelectorAll("time[data-show]")) {
  const at = new Date(time.dateTime);
  time.title = time.textContent.trim();
  time.textContent = (time.dataset.show === "clock" ? clock : full).format(at);
}

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const label = button.querySelector("span");
    const text = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(text.textContent);
      label.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text);
      label.textContent = "Press Ctrl-C";
    }
    setTimeout(() => { label.textContent = "Copy"; }, 3000);
  });
}

document.querySelector("[data-focus]")?.focus();

const watched = document.querySelector("[data-watch]");
if (watched) {
  const until = Date.now() + 10 * 60 * 1000;
  const poll = async () => {
    try {
      const answer = await fetch(watched.dataset.watch, { redirect: "error" });
      const update = await answer.json();
      if (update.done) {
        location.reload();
        return;
      }
      watched.querySelector("[data-status]").textContent = update.text;
    } catch {
      // The next poll may succeed.
    }
    if (Date.now() < until) setTimeout(poll, 3000);
  };
  setTimeout(poll, 2000);
}
