// Plays one take: every camera in its own <video>, kept together. The first camera leads; the others follow by small
// changes of speed, or a jump when they are far off. A declared gap is said and skipped, never hidden.

import { TrackBuffer, plays } from "./track_buffer.js";

const TICK = 250;
const CLOSE_ENOUGH = 0.04;
const JUMP_BEYOND = 0.5;

export class TakePlayer {
  constructor({ take, base, pictures, onTime, onNotice, onProblem, onPlaying }) {
    Object.assign(this, { take, base, onTime, onNotice, onProblem, onPlaying });
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
      pictures.append(video);
      return video;
    });
    this.leader = this.videos[0];
    this.begin = this.#begins(this.cameras[0]);
    this.buffers = [];
    this.playing = false;
  }

  async open() {
    await Promise.all(this.cameras.map((camera, at) => this.#attach(camera, this.videos[at])));
    this.timer = setInterval(() => this.#tick(), TICK);
    if (this.begin > 0) this.seek(this.begin);
    else this.#tick();
  }

  close() {
    clearInterval(this.timer);
    for (const buffer of this.buffers) buffer.controller?.abort();
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
      if (error.name !== "AbortError") throw error;
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

  hear(camera) {
    this.videos.forEach((video, at) => { video.muted = this.cameras[at] !== camera; });
  }

  async #attach(camera, video) {
    const media = new MediaSource();
    video.src = URL.createObjectURL(media);
    await new Promise((resolve) => media.addEventListener("sourceopen", resolve, { once: true }));
    media.duration = this.take.duration;
    for (const track of this.tracks) {
      if (track.camera !== camera) continue;
      this.buffers.push(new TrackBuffer({
        media,
        track,
        url: `${this.base}/${this.take.ordinal}/${track.id}`,
        onProblem: (error, failed, segment) => {
          this.pause();
          this.onProblem(error, failed, segment.start / failed.timescale);
        },
      }));
    }
  }

  #tick() {
    const now = this.time;
    for (const buffer of this.buffers) buffer.fill(now).then(() => buffer.fill(this.time));
    this.#keepTogether();
    if (this.playing) this.#passGap(now);
    if (this.playing && now >= this.take.duration - 0.15) this.pause();
    this.onTime(now);
  }

  #keepTogether() {
    for (const video of this.videos.slice(1)) {
      if (this.leader.readyState < 2 || this.leader.seeking || video.seeking) continue;
      const off = video.currentTime - this.leader.currentTime;
      if (video.readyState < 2) {
        // Its own pictures begin later, or have a gap: it waits, and joins the leader where it has something to show.
        if (off !== 0 && holds(video, this.leader.currentTime)) video.currentTime = this.leader.currentTime;
        continue;
      }
      if (Math.abs(off) > JUMP_BEYOND) video.currentTime = this.leader.currentTime;
      else video.playbackRate = Math.abs(off) < CLOSE_ENOUGH ? 1 : 1 - Math.sign(off) * Math.min(0.08, Math.abs(off) / 2);
      if (this.playing && video.paused) video.play().catch(() => {});
    }
  }

  // The picture has run dry where the journal declares a gap: say so and go on after it.
  #passGap(now) {
    const gap = this.take.gaps.find(({ start, duration }) => now >= start - 0.3 && now < start + duration);
    if (!gap) {
      this.onNotice("");
      return;
    }
    this.onNotice(`Hul i optagelsen: ${gap.duration.toLocaleString("da-DK", { maximumFractionDigits: 1 })} sekunder`);
    if (this.leader.readyState < 3 && !holds(this.leader, now + 0.35)) this.seek(gap.start + gap.duration + 0.05);
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
