// Plays one take: every camera in its own <video>, kept together. One camera leads; the others follow by small changes
// of speed, or a jump when they are far off. Where the leader has a declared gap another one leads, and is heard; where
// none has anything the gap is skipped. Gaps are said, never hidden. A picture that stands still because packets of it
// were lost is said too; one that the browser cannot decode is said and passed over.

import { TrackBuffer, plays } from "./track_buffer.js";

const TICK = 250;
const CLOSE_ENOUGH = 0.04;
const JUMP_BEYOND = 0.5;
const NEW_TRIES = 5;
const NEW_TRIES_WITHIN = 20_000;

export class TakePlayer {
  constructor({ take, base, pictures, name, onTime, onNotice, onProblem, onSkipped, onPlaying }) {
    Object.assign(this, { take, base, name, onTime, onNotice, onProblem, onSkipped, onPlaying });
    this.tracks = take.tracks.filter((track) => track.segments.length > 0 && plays(track));
    this.unplayable = take.tracks.filter((track) => track.segments.length > 0 && !plays(track));
    // With nothing to play a camera would be waited for in vain.
    this.cameras = [...new Set((this.tracks.length > 0 ? this.tracks : take.tracks).map((track) => track.camera))];
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
    const begins = this.cameras.map((camera) => this.#begins(camera));
    this.begin = Math.min(...begins);
    this.leader = this.videos[begins.indexOf(this.begin)];
    this.chosen = "";
    this.buffers = [];
    this.playing = false;
    this.sources = new Map();
    this.tries = [];
  }

  async open() {
    await Promise.all(this.cameras.map((camera, at) => this.#attach(camera, this.videos[at])));
    this.timer = setInterval(() => this.#tick(), TICK);
    if (this.begin > 0) this.seek(this.begin);
    else this.#tick();
  }

  close() {
    this.closed = true;
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
    this.playing = true;
    this.onPlaying(true);
    await Promise.all(this.videos.map((video) => video.play())).catch((error) => {
      // One that cannot be decoded begins again elsewhere.
      if (error.name !== "AbortError" && this.videos.every((video) => video.error === null)) throw error;
    });
  }

  pause() {
    this.playing = false;
    this.onPlaying(false);
    for (const video of this.videos) video.pause();
  }

  seek(time) {
    const to = Math.min(Math.max(this.begin, time), Math.max(this.begin, this.take.duration - 0.1));
    for (const buffer of this.buffers) buffer.seek(to);
    for (const video of this.videos) video.currentTime = to;
    this.onTime(to);
    this.#tick();
  }

  // Empty: none.
  hear(camera) {
    this.chosen = camera;
    this.#hear(this.time);
  }

  // The chosen camera; while its sound has a gap, the first that has sound.
  #hear(now) {
    const sounds = this.tracks.filter((track) => track.kind === "audio" && this.#holds(track, now));
    const heard = sounds.find(({ camera }) => camera === this.chosen) ?? sounds[0];
    const camera = this.chosen === "" ? "" : (heard?.camera ?? this.chosen);
    this.videos.forEach((video, at) => { video.muted = this.cameras[at] !== camera; });
  }

  async #attach(camera, video) {
    const media = new MediaSource();
    URL.revokeObjectURL(video.src);
    video.src = URL.createObjectURL(media);
    this.sources.set(video, media);
    await new Promise((resolve) => media.addEventListener("sourceopen", resolve, { once: true }));
    media.duration = this.take.duration;
    for (const track of this.tracks) {
      if (track.camera !== camera) continue;
      this.buffers.push(new TrackBuffer({
        media,
        track,
        url: `${this.base}/${this.take.ordinal}/${track.id}`,
        givenUp: () => video.error !== null || this.sources.get(video) !== media,
        onProblem: (error, failed, segment) => {
          this.pause();
          this.onProblem(error, failed, segment.start / failed.timescale);
        },
      }));
    }
  }

  // After a decoder's error an element shows nothing more. It gets a new source, and all go on at its next key frame.
  async #beginAgain(video) {
    const camera = this.cameras[this.videos.indexOf(video)];
    const at = video.currentTime;
    const own = this.buffers.filter(({ track }) => track.camera === camera);
    const next = own.find(({ track }) => track.kind === "video")?.keyAfter(at + 0.01);
    const now = performance.now();
    this.tries = [...this.tries.filter((each) => now - each < NEW_TRIES_WITHIN), now];
    if (this.closed) return;
    const playing = this.playing;
    this.pause();
    for (const buffer of own) buffer.stop();
    if (next === undefined || this.tries.length > NEW_TRIES) {
      this.onSkipped(camera, at, null);
      return;
    }
    this.buffers = this.buffers.filter((buffer) => !own.includes(buffer));
    await this.#attach(camera, video);
    if (this.closed) return;
    this.seek(next);
    this.onSkipped(camera, at, next);
    if (playing) await this.play();
  }

  #tick() {
    const now = this.time;
    for (const buffer of this.buffers) buffer.fill(now).then(() => buffer.fill(this.time));
    this.#keepTogether();
    this.#tell(now);
    this.#hear(now);
    if (this.playing) this.#passGap(now);
    if (this.playing && now >= this.take.duration - 0.15) this.pause();
    this.onTime(now);
  }

  #keepTogether() {
    for (const video of this.videos) {
      if (video === this.leader) continue;
      if (this.leader.readyState < 2 || this.leader.seeking) continue;
      // It may have sought where it has nothing; that never ends by itself.
      if (video.seeking && holds(video, video.currentTime)) continue;
      const off = video.currentTime - this.leader.currentTime;
      const there = holds(video, this.leader.currentTime);
      if (video.readyState < 2) {
        // Its own pictures begin later, or have a gap: it waits, and joins the leader where it has something to show.
        if (off !== 0 && there) video.currentTime = this.leader.currentTime;
        continue;
      }
      if (Math.abs(off) <= JUMP_BEYOND) {
        video.playbackRate = Math.abs(off) < CLOSE_ENOUGH ? 1 : 1 - Math.sign(off) * Math.min(0.08, Math.abs(off) / 2);
      } else if (there) {
        video.currentTime = this.leader.currentTime;
      }
      if (this.playing && video.paused) video.play().catch(() => {});
    }
  }

  #gapsAt(now) { return this.take.gaps.filter(({ start, duration }) => now >= start - 0.3 && now < start + duration); }

  #tell(now) {
    const still = this.tracks.filter((track) => this.#stands(track, now));
    const gaps = this.#gapsAt(now).filter(({ track }) => !still.some(({ id }) => id === track));
    this.videos.forEach((video, at) => {
      const pictures = this.tracks.filter(({ camera, kind }) => kind === "video" && camera === this.cameras[at]);
      const old = pictures.some((track) => still.includes(track) || this.#lacks(track, now));
      video.toggleAttribute("data-still", old);
    });
    if (gaps.length > 0) {
      const cameras = this.tracks.filter(({ id }) => gaps.some(({ track }) => track === id)).map(({ camera }) => camera);
      const length = Math.max(...gaps.map(({ duration }) => duration));
      const seconds = length.toLocaleString("da-DK", { maximumFractionDigits: 1 });
      this.onNotice(`Hul i optagelsen${this.#names(cameras)}: ${seconds} sekunder`);
    } else if (still.length > 0) {
      this.onNotice(`Billedet står stille${this.#names(still.map(({ camera }) => camera))}: noget af det nåede aldrig frem`);
    } else {
      this.onNotice("");
    }
  }

  #names(cameras) {
    const names = [...new Set(cameras)].map((camera) => this.name(camera));
    return names.length > 0 ? ` (${names.join(" og ")})` : "";
  }

  // The leader has run dry where the journal declares a gap: another one leads, or all go on after it.
  #passGap(now) {
    const gaps = this.#gapsAt(now);
    if (gaps.length === 0 || this.leader.readyState >= 3 || holds(this.leader, now + 0.35)) return;
    const there = this.cameras.findIndex((camera) => this.tracks
      .filter((track) => track.camera === camera)
      .every((track) => this.#holds(track, now + 0.35)));
    if (there >= 0) this.leader = this.videos[there];
    else this.seek(Math.max(...gaps.map(({ start, duration }) => start + duration)) + 0.05);
  }

  // Whether there is something of a track at a time, if only an earlier picture.
  #holds(track, time) {
    const { segments, timescale } = track;
    return (!this.#lacks(track, time) || this.#stands(track, time))
      && segments.some(({ start, duration }) => time >= start / timescale && time < (start + duration) / timescale);
  }

  // Whether a gap of it is declared at a time.
  #lacks({ id }, time) {
    return this.take.gaps.some(({ track, start, duration }) => (
      (track === null || track === id) && time >= start && time < start + duration
    ));
  }

  // Whether an earlier picture is shown because what came then lacks packets, or rests on what does.
  #stands({ unshown, timescale }, now) {
    return unshown.some(({ start, duration }) => now >= start / timescale && now < (start + duration) / timescale);
  }

  // Where a camera has both its picture and its sound: a browser shows nothing before that.
  #begins(camera) {
    const tracks = this.tracks.filter((track) => track.camera === camera);
    return Math.max(0, ...tracks.map((track) => track.segments[0].start / track.timescale));
  }
}

function holds(video, time) {
  for (let i = 0; i < video.buffered.length; i += 1) {
    if (video.buffered.start(i) <= time && time < video.buffered.end(i)) return true;
  }
  return false;
}
