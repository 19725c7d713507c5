// The page that makes a browser a camera. The token may come in the URL's fragment, which no server is ever sent; it
// is taken out of the address bar at once.

import { WhipPublisher } from "./whip.js";

const WORDS = {
  connecting: "Forbinder …",
  live: "Sender",
  lost: "Afbrudt. Forbinder igen …",
  taken: "Kameraet sender allerede fra et andet sted. Prøver igen …",
  refused: "Adgangsnøglen er ikke gyldig",
  stopped: "Sender ikke",
  blocked: "Browseren gav ikke adgang til kamera og mikrofon",
};

const form = document.querySelector("[data-publish]");
const token = document.getElementById("token");
const toggle = document.querySelector("[data-toggle]");
const own = document.querySelector("[data-own]");
const cover = document.querySelector("[data-cover]");
const state = document.querySelector("[data-state]");
const stateText = document.querySelector("[data-state-text]");

const fragment = new URLSearchParams(window.location.hash.slice(1));
if (fragment.has("token")) {
  token.value = fragment.get("token");
  window.history.replaceState(null, "", window.location.pathname);
}

let publisher = null;

function say(name) {
  state.dataset.state = name === "taken" ? "waiting" : name === "blocked" ? "refused" : name;
  stateText.textContent = WORDS[name];
  if (name === "refused") end();
}

function end() {
  own.srcObject?.getTracks().forEach((track) => track.stop());
  own.srcObject = null;
  cover.hidden = false;
  publisher = null;
  toggle.textContent = "Begynd at sende";
}

async function begin() {
  const [width, height] = form.elements.size.value.split("x").map(Number);
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      video: { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: 30 } },
      // What the microphone hears is evidence: no processing that guesses what matters.
      audio: { channelCount: { ideal: 2 }, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
    });
  } catch {
    say("blocked");
    return;
  }
  own.srcObject = stream;
  own.play();
  cover.hidden = true;
  toggle.textContent = "Hold op med at sende";
  publisher = new WhipPublisher({ endpoint: form.dataset.endpoint, token: token.value.trim(), stream, onState: say });
  publisher.start();
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!publisher) {
    await begin();
    return;
  }
  const ending = publisher;
  end();
  await ending.stop();
});

window.addEventListener("pagehide", () => publisher?.stop());
