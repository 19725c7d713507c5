// The viewing page: controls and keys around a TakePlayer. Nothing plays until it is asked to.

import { TakePlayer } from "./player.js";

const root = document.querySelector("[data-player]");
const find = (name) => root.querySelector(`[data-${name}]`);
const seek = find("seek");
const takeChoice = find("take");
const soundChoice = find("sound-from");
const SVG = "http://www.w3.org/2000/svg";

const names = new Map([...soundChoice.options].map((option) => [option.value, option.text]));

let takes = [];
let player = null;

const clock = (seconds) => {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (value) => String(value).padStart(2, "0");
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
};

const say = (element, text) => { if (element.textContent !== text) element.textContent = text; };

function show(time) {
  if (document.activeElement !== seek || !seek.matches(":active")) seek.value = time;
  seek.setAttribute("aria-valuetext", clock(time));
  say(find("now"), clock(time));
  const wall = new Date(Date.parse(player.take.started_at) + time * 1000);
  say(find("wall"), `kl. ${wall.toLocaleTimeString("da-DK", { timeZone: "Europe/Copenhagen" })}`);
}

function problem(error, track, at) {
  const box = find("problem");
  box.className = "stale";
  say(box, `${error.message}. ${track.id} ved ${clock(at)}. ${error.problem?.detail ?? "Prøv igen."}`);
}

// The browser's decoder gave up at a picture: what happens to it, and to the rest.
function skipped(camera, at, next, goesOn) {
  const box = find("problem");
  box.className = "stale";
  const name = names.get(camera) ?? camera;
  let then = goesOn ? "Resten går videre uden det." : "Afspilningen er standset.";
  if (next !== null) then = goesOn ? `Det er med igen fra ${clock(next)}.` : `Afspilningen er flyttet til ${clock(next)}.`;
  say(box, `Browseren kunne ikke vise billedet fra ${name} ved ${clock(at)}. ${then} `
    + "Optagelsen er uændret. Tag en kopi af afhøringen ud for at se stykket.");
}

// What the browser lacks is said at once, with what to do instead.
function cannotPlay(tracks) {
  const box = find("problem");
  box.className = "stale";
  const formats = [...new Set(tracks.flatMap((track) => Object.values(track.inits)))].map(format).join(", ");
  say(box, `Denne browser kan ikke afspille ${formats} (${tracks.map(({ id }) => id).join(", ")}). `
    + "Tag en kopi af afhøringen ud: Dens visningskopi kan afspilles på enhver computer.");
}

const format = (codec) => (/^h[ev][ev]1/.test(codec) ? "H.265" : codec.startsWith("av01") ? "AV1" : codec);

async function open(ordinal) {
  player?.close();
  find("problem").textContent = "";
  const take = takes.find((each) => each.ordinal === ordinal);
  player = new TakePlayer({
    take,
    base: root.dataset.base,
    pictures: find("pictures"),
    onTime: show,
    onNotice: (text) => say(find("notice"), text),
    name: (camera) => names.get(camera) ?? camera,
    onProblem: problem,
    onSkipped: skipped,
    onPlaying(playing) {
      say(find("play-text"), playing ? "Pause" : "Afspil");
      find("play-sign").toggleAttribute("data-playing", playing);
    },
  });
  seek.max = take.duration;
  say(find("length"), clock(take.duration));
  drawMarks(take);
  soundChoice.replaceChildren(...player.cameraWithSound.map((camera) => new Option(names.get(camera) ?? camera, camera)));
  soundChoice.append(new Option("Ingen", ""));
  player.hear(soundChoice.value);
  show(0);
  if (player.unplayable.length > 0) cannotPlay(player.unplayable);
  await player.open();
}

function drawMarks(take) {
  const mark = (name, { start, duration }) => {
    const rect = document.createElementNS(SVG, "rect");
    rect.setAttribute("class", name);
    rect.setAttribute("x", (start / take.duration) * 1000);
    rect.setAttribute("width", Math.max(3, (duration / take.duration) * 1000));
    rect.setAttribute("height", 10);
    return rect;
  };
  find("gaps").replaceChildren(
    ...take.observed.map((observed) => mark("player__observed", observed)),
    ...take.gaps.map((gap) => mark("player__gap", gap)),
    ...take.tracks.flatMap(({ unshown, timescale }) => unshown.map(({ start, duration }) => (
      mark("player__gap", { start: start / timescale, duration: duration / timescale })
    ))),
  );
}

// No still picture of the child before somebody has asked to see the recording.
const unveil = () => root.removeAttribute("data-veiled");

// What was said of an earlier try is not true of the next one.
function forget() {
  if (player.unplayable.length > 0) return;
  const box = find("problem");
  box.className = "";
  say(box, "");
}

function toggle() {
  unveil();
  if (player.playing) {
    player.pause();
    return;
  }
  forget();
  player.play();
}

function goTo(time) {
  unveil();
  forget();
  player.seek(time);
}

const skip = (seconds) => goTo(player.time + seconds);

function mute() {
  soundChoice.value = soundChoice.value === "" ? (player.cameraWithSound[0] ?? "") : "";
  player.hear(soundChoice.value);
}

const KEYS = {
  " ": toggle,
  k: toggle,
  j: () => skip(-10),
  l: () => skip(10),
  ArrowLeft: () => skip(-5),
  ArrowRight: () => skip(5),
  Home: () => goTo(0),
  End: () => goTo(player.take.duration),
  m: mute,
  f: () => root.querySelector("[data-fullscreen]").click(),
};

document.addEventListener("keydown", (event) => {
  if (!player || event.ctrlKey || event.metaKey || event.altKey) return;
  const action = KEYS[event.key];
  const target = event.target;
  if (!action || target.closest("select, textarea, summary, a")) return;
  if (event.key === " " && target.closest("button")) return;
  event.preventDefault();
  action();
});

find("play").addEventListener("click", toggle);
for (const button of root.querySelectorAll("[data-skip]")) {
  button.addEventListener("click", () => skip(Number(button.dataset.skip)));
}
seek.addEventListener("input", () => goTo(Number(seek.value)));
soundChoice.addEventListener("change", () => player.hear(soundChoice.value));
takeChoice.addEventListener("change", () => open(Number(takeChoice.value)));

const response = await fetch(`${root.dataset.base}/indeks`, { headers: { Accept: "application/json" } });
if (response.ok) {
  takes = (await response.json()).filter((take) => take.tracks.some((track) => track.segments.length > 0));
  if (takes.length > 0) await open(takes[0].ordinal);
} else {
  const box = find("problem");
  box.className = "stale";
  say(box, "Optagelsen kunne ikke åbnes. Genindlæs siden.");
}
