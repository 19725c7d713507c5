// One track of one take in one SourceBuffer: fetches checked segments in order, a few ahead of the playing position,
// drops what is far behind, and starts over from the right segment when the person seeks.

const AHEAD = 12;
const BEHIND = 30;
const MIME = { video: "video/mp4", audio: "audio/mp4" };

// What the store sends for a codec: VP8, which browsers do not take from MP4, comes as WebM.
function type(kind, codec) {
  return codec.startsWith("vp08") ? 'video/webm; codecs="vp8"' : `${MIME[kind]}; codecs="${codec}"`;
}

// Whether this browser can decode all of a track.
export function plays(track) {
  return Object.values(track.inits).every((codec) => MediaSource.isTypeSupported(type(track.kind, codec)));
}

export class TrackBuffer {
  // `givenUp`: whether the picture's element has given up meanwhile; who began again elsewhere is told of no problem.
  constructor({ media, track, url, onProblem, givenUp }) {
    this.givenUp = givenUp;
    this.track = track;
    this.url = url;
    this.onProblem = onProblem;
    this.generation = 0;
    this.next = 0;
    this.epoch = null;
    this.busy = false;
    this.appendedTo = 0;
    this.position = 0;
    this.codec = track.inits[track.segments[0].epoch];
    this.buffer = media.addSourceBuffer(type(track.kind, this.codec));
  }

  start(segment) { return segment.start / this.track.timescale; }
  end(segment) { return (segment.start + segment.duration) / this.track.timescale; }

  // The segment that holds the last key frame at or before a time: appending begins there, or the decoder sees nothing.
  indexFor(time) {
    const { segments, kind, timescale } = this.track;
    let index = segments.findIndex((segment) => this.end(segment) > time);
    if (index < 0) index = segments.length - 1;
    if (kind !== "video") return index;
    // A time that was worked out from a key frame's may have lost a little on the way.
    const at = time * timescale + 1;
    for (let back = index; back >= 0; back -= 1) {
      if (segments[back].key_frames.some((key) => key <= at)) return back;
    }
    return 0;
  }

  seek(time) {
    this.position = time;
    if (this.#holds(time)) return;
    this.generation += 1;
    this.next = this.indexFor(time);
    this.epoch = null;
    this.controller?.abort();
  }

  // Called often; does at most one fetch at a time. Resolves when there was nothing to do or it is done.
  async fill(time) {
    const { segments } = this.track;
    this.position = time;
    if (this.busy || this.failed || this.stopped || this.next >= segments.length) return;
    const segment = segments[this.next];
    if (this.start(segment) > time + AHEAD) return;
    this.busy = true;
    const generation = this.generation;
    try {
      if (segment.epoch !== this.epoch) {
        const init = await this.#fetch(`init/${segment.epoch}`);
        if (generation !== this.generation) return;
        const codec = this.track.inits[segment.epoch];
        if (codec !== this.codec) {
          this.buffer.changeType(type(this.track.kind, codec));
          this.codec = codec;
        }
        await this.#append(init);
        this.epoch = segment.epoch;
      }
      const media = await this.#fetch(String(segment.number));
      if (generation !== this.generation) return;
      // Where no picture can be shown for a whole segment there is nothing: the one before it lasts.
      if (media.byteLength > 0) {
        this.appendedTo = this.end(segment);
        await this.#append(media);
      }
      if (generation === this.generation) this.next += 1;
      const old = this.#before(this.position);
      if (old > 0) await this.#remove(0, old);
    } catch (error) {
      if (error.name === "AbortError" || this.givenUp()) return;
      this.failed = true;
      this.onProblem(error, this.track, segment);
    } finally {
      this.busy = false;
    }
  }

  stop() {
    this.stopped = true;
    this.controller?.abort();
  }

  // Whether what it failed at lies before that.
  lacks(time) { return this.failed === true && this.start(this.track.segments[this.next]) <= time; }

  // Whether nothing of that time is still to come.
  given(time) { return !this.busy && !this.failed && (this.finished || this.start(this.track.segments[this.next]) > time); }

  // What lies before this may go: some seconds are kept, and the picture that is shown with what it rests on.
  #before(time) {
    const { segments, kind, timescale } = this.track;
    const old = time - BEHIND;
    if (kind !== "video" || old <= 0) return old;
    const keys = segments.flatMap((segment) => segment.key_frames).filter((key) => key <= time * timescale);
    return keys.length > 0 ? Math.min(old, keys.at(-1) / timescale - 0.1) : 0;
  }

  get finished() { return this.next >= this.track.segments.length && !this.busy; }

  #holds(time) {
    const ranges = this.buffer.buffered;
    for (let i = 0; i < ranges.length; i += 1) {
      if (ranges.start(i) <= time && time < ranges.end(i) - 0.2) {
        // What comes next is already being appended only if the position is in the newest range.
        if (this.next >= this.track.segments.length) return true;
        const next = this.start(this.track.segments[this.next]);
        return next >= ranges.start(i) && next <= ranges.end(i) + 0.5;
      }
    }
    return false;
  }

  async #fetch(path) {
    this.controller = new AbortController();
    const response = await fetch(`${this.url}/${path}`, { signal: this.controller.signal }).catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new Error("Forbindelsen til serveren er brudt");
    });
    if (!response.ok) {
      const problem = await response.json().catch(() => ({}));
      throw Object.assign(new Error(problem.title ?? "Stykket kunne ikke hentes"), { problem, status: response.status });
    }
    return response.arrayBuffer();
  }

  #append(bytes) { return this.#update(() => this.buffer.appendBuffer(bytes)); }
  #remove(from, to) { return this.#update(() => this.buffer.remove(from, to)); }

  #update(change) {
    return new Promise((resolve, reject) => {
      const done = () => { clean(); resolve(); };
      const failed = () => { clean(); reject(new Error("Browseren kunne ikke afspille stykket")); };
      const clean = () => {
        this.buffer.removeEventListener("updateend", done);
        this.buffer.removeEventListener("error", failed);
      };
      this.buffer.addEventListener("updateend", done);
      this.buffer.addEventListener("error", failed);
      try { change(); } catch (error) { clean(); reject(error); }
    });
  }
}
