// Plays one take: every camera in its own <video>, kept together. One camera leads; the others follow by small changes
// of speed, or a jump when they are far off. Where the leader has a declared gap another one leads, and is heard; where
// none has anything the gap is skipped. Gaps are said, never hidden. A picture that stands still because packets of it
// were lost is said too; one that the browser cannot decode is said and passed over.

import { TakeMap } from "./take_map.js";
import { TrackBuffer, plays } from "./track_buffer.js";

const TICK = 250;
const SOON = 0.35;
const CLOSE_ENOUGH = 0.04;
const JUMP_BEYOND = 0.5;
const STUCK_AFTER = 4;
const READ_WITHIN = 4_000;
const NEW_TRIES = 5;
const NEW_TRIES_WITHIN = 20_000;

export class TakePlayer {
  constructor({ take, base, pictures, name, onTime, onNotice, onProblem, onSkipped, onPlaying }) {
    Object.assign(this, { take, base, name, onTime, onNotice, onProblem, onSkipped, onPlaying });
    this.tracks = take.tracks.filter((track) => track.segments.length > 0 && plays(track));
    this.unplayable = take.tracks.filter((track) => track.segments.length > 0 && !plays(track));
    // With nothing to play a camera would be waited for in vain.
    this.cameras = [...new Set((this.tracks.length > 0 ? this.tracks : take.tracks).map((track) => track.camera))];
    this.map = new TakeMap(take, this.tracks);
    this.videos = this.cameras.map((camera) => {
      const video = document.createElement("video");
      video.className = "player__video";
      video.playsInline = true;
      video.disablePictureInPicture = true;
      video.disableRemotePlayback = true;
      video.tabIndex = -1;
      video.setAttribute("aria-label", `Optaget billede, kamera ${camera}`);
      video.addEventListener("contextmenu", (event) => event.preventDefault());
      video.addEventListener("error", () => this.#beginAgain(video));
      pictures.append(video);
      return video;
    });
    this.begin = Math.min(...this.cameras.map((camera) => this.map.begin(camera)));
    this.chosen = "";
    this.buffers = [];
    this.playing = false;
    this.sources = new Map();
    this.dead = new Set();
    this.notBefore = new Map();
    this.tries = new Map();
    this.passed = { text: "", until: 0 };
    this.stuck = 0;
    this.leader = this.#leaderAt(this.begin);
  }

  async open() {
    await Promise.all(this.videos.map((video) => this.#attach(video)));
    if (this.closed) return;
    this.timer = setInterval(() => this.#tick(), TICK);
    if (this.begin > 0) this.#to(this.begin);
    else this.#tick();
  }

  close() {
    this.closed = true;
    if (this.playing) this.onPlaying(false);
    clearInterval(this.timer);
    for (const buffer of this.buffers) buffer.stop();
    for (const video of this.videos) {
      URL.revokeObjectURL(video.src);
      video.remove();
    }
  }

  get time() { return this.leader.currentTime; }
  get cameraWithSound() { return this.tracks.filter((track) => track.kind === "audio").map((track) => track.camera); }

  async play() {
    await this.#revive(this.time);
    this.playing = true;
    this.onPlaying(true);
    await Promise.all(this.#living().map((video) => video.play())).catch((error) => {
      // One that cannot be decoded begins again elsewhere.
      if (error.name !== "AbortError" && this.videos.every((video) => video.error === null)) throw error;
    });
  }

  pause() {
    this.playing = false;
    this.onPlaying(false);
    for (const video of this.videos) video.pause();
  }

  // A person's wish: what had given up, or failed, gets another chance.
  seek(time) {
    this.notBefore.clear();
    this.passed.until = 0;
    this.#to(time);
    this.#revive(time);
  }

  // Empty: none.
  hear(camera) {
    this.chosen = camera;
    this.#hear(this.time);
  }

  #camera(video) { return this.cameras[this.videos.indexOf(video)]; }
  #living() { return this.videos.filter((video) => video.error === null && !this.dead.has(video)); }

  // The least time from then on at which it has everything, as far as is known; undefined if there is none.
  #next(video, time) {
    const from = Math.max(time, this.notBefore.get(video) ?? 0);
    const next = this.map.next(this.#camera(video), from);
    return this.#own(video).some((buffer) => buffer.lacks(next)) ? undefined : next;
  }

  // The first that has everything then, or has it soonest.
  #leaderAt(time) {
    const found = this.#living().map((video) => ({ video, next: this.#next(video, time) ?? Infinity }));
    const soonest = Math.min(...found.map(({ next }) => next));
    return found.find(({ next }) => next === soonest)?.video ?? this.leader;
  }

  #to(time) {
    const to = Math.min(Math.max(this.begin, time), Math.max(this.begin, this.take.duration - 0.1));
    this.leader = this.#leaderAt(to);
    this.stuck = 0;
    for (const buffer of this.buffers) buffer.seek(to);
    for (const video of this.videos) {
      video.currentTime = to;
      this.#run(video);
    }
    this.onTime(to);
    this.#tick();
  }

  #run(video) {
    // What interrupts it here, a seek or a new source, has it run again.
    if (this.playing && video.paused && video.error === null) video.play().catch(() => {});
  }

  // The chosen camera; while it has a gap the leader, or else the first that has sound.
  #hear(now) {
    const able = [this.leader, ...this.videos].filter((video) => (
      this.#able(video, now) && this.map.of(this.#camera(video)).some(({ kind }) => kind === "audio")
    ));
    const chosen = this.videos[this.cameras.indexOf(this.chosen)];
    const heard = able.includes(chosen) ? chosen : (able[0] ?? chosen);
    for (const video of this.videos) video.muted = this.chosen === "" || video !== heard;
  }

  async #attach(video, at = 0) {
    const camera = this.#camera(video);
    const media = new MediaSource();
    URL.revokeObjectURL(video.src);
    video.src = URL.createObjectURL(media);
    this.sources.set(video, media);
    // Its clock is asked for while it opens.
    video.currentTime = at;
    await new Promise((resolve) => media.addEventListener("sourceopen", resolve, { once: true }));
    if (this.closed) return;
    media.duration = this.take.duration;
    const own = this.tracks.filter((track) => track.camera === camera).map((track) => new TrackBuffer({
      media,
      track,
      url: `${this.base}/${this.take.ordinal}/${track.id}`,
      givenUp: () => video.error !== null || this.sources.get(video) !== media,
      onProblem: (error, failed, segment) => {
        this.pause();
        this.onProblem(error, failed, segment.start / failed.timescale);
      },
    }));
    this.buffers.push(...own);
    // It may have been sent elsewhere meanwhile.
    for (const buffer of own) buffer.seek(video.currentTime);
  }

  #own(video) { return this.buffers.filter(({ track }) => track.camera === this.#camera(video)); }

  async #renew(video, time) {
    const own = this.#own(video);
    for (const buffer of own) buffer.stop();
    this.buffers = this.buffers.filter((buffer) => !own.includes(buffer));
    await this.#attach(video, time);
  }

  async #revive(time) {
    this.tries.clear();
    const worn = this.videos.filter((video) => this.dead.has(video) || this.#own(video).some(({ failed }) => failed));
    if (worn.length === 0) return;
    this.dead.clear();
    await Promise.all(worn.map((video) => this.#renew(video, time)));
    if (!this.closed) this.#to(this.time);
  }

  // After a decoder's error an element shows nothing more. It gets a new source and joins the others at its next key
  // frame; where there are no others, all go on there. The first time right after what failed, then, since a browser
  // may read far ahead, after all that it was given.
  async #beginAgain(video) {
    if (this.closed) return;
    const camera = this.#camera(video);
    const at = video.currentTime;
    const now = performance.now();
    const tries = [...(this.tries.get(video) ?? []).filter((each) => now - each < NEW_TRIES_WITHIN), now];
    this.tries.set(video, tries);
    const after = tries.length > 1 ? Math.max(at, ...this.#own(video).map(({ appendedTo }) => appendedTo)) : at;
    const next = tries.length > NEW_TRIES ? undefined : this.map.keyAfter(camera, after + 0.01);
    for (const buffer of this.#own(video)) buffer.stop();
    if (next === undefined) this.dead.add(video);
    else this.notBefore.set(video, next);
    const where = video === this.leader ? at : this.time;
    const other = this.videos.find((each) => each !== video && this.#able(each, where));
    const goesOn = other !== undefined;
    if (video === this.leader && goesOn) this.#lead(other, at);
    if (next !== undefined) await this.#renew(video, next);
    if (this.closed) return;
    if (goesOn) {
      this.onSkipped(camera, at, next ?? null, true);
      return;
    }
    const all = this.#soonest(where);
    this.onSkipped(camera, at, all ?? null, false);
    if (all === undefined) this.pause();
    else this.#to(all);
  }

  #soonest(time) {
    const all = this.#living().map((video) => this.#next(video, time)).filter((next) => next !== undefined);
    return all.length > 0 ? Math.min(...all) : undefined;
  }

  // Whether it has everything of a time, as far as is known.
  #able(video, time) {
    return this.#living().includes(video) && time >= (this.notBefore.get(video) ?? 0)
      && this.map.has(this.#camera(video), time) && !this.#own(video).some((buffer) => buffer.lacks(time));
  }

  #tick() {
    const now = this.time;
    for (const buffer of this.buffers) buffer.fill(now).then(() => buffer.fill(this.time));
    if (this.playing) this.#goOn(now);
    this.#keepTogether();
    this.#tell(now);
    this.#hear(now);
    if (this.playing && now >= this.take.duration - 0.15) this.pause();
    this.onTime(now);
  }

  #keepTogether() {
    this.leader.playbackRate = 1;
    const waits = this.leader.readyState < 3 || this.leader.seeking;
    for (const video of this.#living()) {
      if (video === this.leader) continue;
      if (waits) {
        // Nobody runs ahead to be fetched back: that would be heard twice.
        video.pause();
        if (this.leader.readyState < 2 || this.leader.seeking) continue;
      }
      // It may have sought where it has nothing; that never ends by itself.
      if (video.seeking && holds(video, video.currentTime)) continue;
      const off = video.currentTime - this.time;
      const there = holds(video, this.time) && this.time >= (this.notBefore.get(video) ?? 0);
      if (video.readyState < 2) {
        // Its own pictures begin later, or have a gap: it waits, and joins the leader where it has something to show.
        if (off !== 0 && there) video.currentTime = this.time;
        continue;
      }
      if (Math.abs(off) <= JUMP_BEYOND) {
        video.playbackRate = Math.abs(off) < CLOSE_ENOUGH ? 1 : 1 - Math.sign(off) * Math.min(0.08, Math.abs(off) / 2);
      } else if (there) {
        video.currentTime = this.time;
      }
      if (there && !waits) this.#run(video);
    }
  }

  #tell(now) {
    const still = this.tracks.filter((track) => this.map.stands(track, now));
    const gaps = this.map.gapsAt(now, 0.3).filter(({ track }) => !still.some(({ id }) => id === track));
    this.videos.forEach((video, at) => {
      const pictures = this.map.of(this.cameras[at]).filter(({ kind }) => kind === "video");
      video.toggleAttribute("data-still", pictures.some((track) => still.includes(track) || this.map.lacks(track, now)));
    });
    if (gaps.length > 0) {
      this.onNotice(this.#gap(gaps));
    } else if (still.length > 0) {
      this.onNotice(`Billedet står stille${this.#names(still.map(({ camera }) => camera))}: noget af det nåede aldrig frem`);
    } else {
      this.onNotice(performance.now() < this.passed.until ? this.passed.text : "");
    }
  }

  #gap(gaps) {
    const cameras = this.tracks.filter(({ id }) => gaps.some(({ track }) => track === id)).map(({ camera }) => camera);
    const length = Math.max(...gaps.map(({ duration }) => duration));
    const seconds = length.toLocaleString("da-DK", { maximumFractionDigits: 1 });
    return `Hul i optagelsen${this.#names(cameras)}: ${seconds} sekunder`;
  }

  #names(cameras) {
    const names = [...new Set(cameras)].map((camera) => this.name(camera));
    return names.length > 0 ? ` (${names.join(" og ")})` : "";
  }

  // The leader has run dry. Where the take has nothing of it another one leads, or all go on where there is something.
  // Where the browser alone has nothing, between two stretches that it has, it goes on at the second.
  #goOn(now) {
    this.stuck = this.leader.currentTime === this.before ? this.stuck + 1 : 0;
    this.before = this.leader.currentTime;
    if (this.leader.readyState >= 3) return;
    const at = now + SOON;
    if (this.#able(this.leader, at)) {
      const range = nextRange(this.leader, now);
      if (this.stuck < STUCK_AFTER || !this.#own(this.leader).every((buffer) => buffer.given(now))) return;
      const here = this.#living().find((video) => video !== this.leader && this.#able(video, now) && holds(video, now));
      if (here) this.#lead(here, now);
      else if (range !== undefined) this.#skip(now, range + 0.01);
      return;
    }
    const other = this.#living().find((video) => video !== this.leader && this.#able(video, at));
    const next = this.#soonest(at);
    if (other) this.#lead(other, at);
    else if (next !== undefined) this.#skip(now, next);
    else if (this.stuck >= STUCK_AFTER) this.pause();
  }

  #skip(now, to) {
    const seconds = (to - now).toLocaleString("da-DK", { maximumFractionDigits: 1 });
    this.passed = { text: `Hul i optagelsen: ${seconds} sekunder sprunget over`, until: performance.now() + READ_WITHIN };
    this.#to(to);
  }

  #lead(video, at) {
    this.leader = video;
    video.playbackRate = 1;
    this.stuck = 0;
    if (Math.abs(video.currentTime - at) > JUMP_BEYOND || !holds(video, video.currentTime)) video.currentTime = at;
    this.#run(video);
  }
}

function holds(video, time) {
  for (let i = 0; i < video.buffered.length; i += 1) {
    if (video.buffered.start(i) <= time && time < video.buffered.end(i)) return true;
  }
  return false;
}

// Where the first stretch begins that the browser has after a time.
function nextRange(video, time) {
  for (let i = 0; i < video.buffered.length; i += 1) {
    if (video.buffered.start(i) > time) return video.buffered.start(i);
  }
  return undefined;
}
