// What every page does: focus on what just happened, dialogs, one press a form, print, full screen, and a loud word
// when a page that shows the state of the room no longer hears from the server.

const STALE_AFTER = 5000;

for (const element of document.querySelectorAll("[data-focus]")) element.focus();

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.openDialog) {
    const dialog = document.getElementById(button.dataset.openDialog);
    dialog.showModal();
    // A dialog that closes gives the focus back, even if the button was drawn anew meanwhile.
    dialog.addEventListener("close", () => document.getElementById(button.id)?.focus(), { once: true });
  } else if ("closeDialog" in button.dataset) {
    button.closest("dialog").close();
  } else if ("print" in button.dataset) {
    window.print();
  } else if (button.dataset.fullscreen) {
    const scene = document.getElementById(button.dataset.fullscreen);
    if (document.fullscreenElement) document.exitFullscreen();
    else scene.requestFullscreen();
  }
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!("once" in form.dataset)) return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
});

// Coming back by the browser's history, a form may be sent again.
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-once]")) delete form.dataset.sent;
});

const showClock = () => {
  const now = new Date().toLocaleTimeString("da-DK", { timeZone: "Europe/Copenhagen" });
  for (const element of document.querySelectorAll("[data-clock]")) element.textContent = now;
};
if (document.querySelector("[data-clock]")) {
  showClock();
  setInterval(showClock, 1000);
}

const stale = document.querySelector("[data-stale]");
if (stale && document.querySelector("[data-poll]")) {
  let heard = performance.now();
  document.addEventListener("htmx:after:request", (event) => {
    if (event.detail?.ctx?.response?.status === 200) heard = performance.now();
  });
  setInterval(() => {
    const polls = document.querySelector("[data-poll]");
    const silent = polls && performance.now() - heard > STALE_AFTER;
    const text = silent
      ? "Siden får ikke svar. Det viste kan være forældet. En igangværende optagelse fortsætter: se på lampen i rummet."
      : "";
    if (stale.textContent !== text) stale.textContent = text;
  }, 1000);
}
