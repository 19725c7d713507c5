// The operator's page and the monitor room: every camera tile on the page is watched live.

import { WhepClient } from "./whep.js";
import { Meter, resumeSound, soundRuns } from "./meters.js";

const WORDS = {
  connecting: "Forbinder …",
  arriving: "Forbinder …",
  live: "Direkte",
  unsteady: "Ustabil forbindelse",
  frozen: "Billedet står stille",
  lost: "Afbrudt. Forbinder igen …",
  waiting: "Venter på kameraet",
  refused: "Ingen adgang",
  unsupported: "Kan ikke vises",
};

const COVERS = {
  connecting: "Forbinder til kameraet …",
  frozen: "Billedet står stille. Siden forbinder igen af sig selv.",
  lost: "Forbindelsen er afbrudt. Siden forbinder igen af sig selv. Optagelsen i rummet er ikke berørt.",
  waiting: "Kameraet sender ikke lige nu. Billedet kommer af sig selv.",
  refused: "Du har ikke længere adgang til billedet. Log ind igen.",
  unsupported: "Browseren kan ikke vise det billedformat, kameraet sender. Brug Chrome eller Edge.",
};

const csrf = document.querySelector('meta[name="vidne-csrf"]').content;

const tiles = [...document.querySelectorAll("[data-live]")].map((element) => {
  const video = element.querySelector("video");
  const cover = element.querySelector("[data-cover]");
  const coverText = element.querySelector("[data-cover-text]");
  const state = element.querySelector("[data-state]");
  const stateText = element.querySelector("[data-state-text]");
  const meter = element.querySelector("[data-meter]") ? new Meter(element) : null;
  video.addEventListener("contextmenu", (event) => event.preventDefault());
  const client = new WhepClient({
    url: element.dataset.url,
    csrf,
    onStream(stream) {
      if (video.srcObject !== stream) video.srcObject = stream;
      meter?.listen(stream);
    },
    onState(name) {
      state.dataset.state = name;
      if (stateText.textContent !== WORDS[name]) stateText.textContent = WORDS[name];
      const covered = COVERS[name];
      cover.hidden = !covered;
      if (covered) coverText.textContent = covered;
    },
  });
  client.start();
  return { element, video, client };
});

window.addEventListener("pagehide", () => tiles.forEach(({ client }) => client.stop()));
window.addEventListener("pageshow", (event) => {
  if (event.persisted) window.location.reload();
});

// Sound in the monitor room: one camera's microphone at a time, after the person has asked for it.
const soundButton = document.querySelector("[data-sound-button]");
soundButton?.addEventListener("click", () => {
  const on = !soundButton.hasAttribute("data-on");
  for (const { element, video } of tiles) {
    video.muted = !(on && "sound" in element.dataset);
    if (!video.muted) video.play();
  }
  soundButton.toggleAttribute("data-on", on);
  soundButton.querySelector("[data-sound-text]").textContent = on ? "Slå lyd fra" : "Slå lyd til";
});

const resume = document.querySelector("[data-resume-sound]");
if (resume && tiles.length > 0) {
  const show = () => { resume.hidden = soundRuns(); };
  resume.addEventListener("click", () => resumeSound().then(show));
  document.addEventListener("pointerdown", () => resumeSound().then(show), { once: true });
  document.addEventListener("keydown", () => resumeSound().then(show), { once: true });
  setTimeout(show, 500);
}
