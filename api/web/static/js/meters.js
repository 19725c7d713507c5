// Sound meters from the live streams: the level in dB below full scale, and a warning after ten seconds of silence.

const FLOOR = -60;
const SILENT_BELOW = -55;
const WARN_AFTER = 10000;
const SPEAK_EVERY = 1000;

let context = null;

// Browsers let sound be computed only after the person has touched the page.
export async function resumeSound() {
  context ??= new AudioContext();
  await context.resume();
}

export function soundRuns() {
  context ??= new AudioContext();
  return context.state === "running";
}

export class Meter {
  constructor(element) {
    this.element = element.querySelector("[data-meter]");
    this.fill = element.querySelector("[data-meter-fill]");
    this.warning = element.querySelector("[data-silence]");
    this.spokenAt = 0;
  }

  // A new stream, or null when the picture is cut.
  listen(stream) {
    cancelAnimationFrame(this.frame);
    this.source?.disconnect();
    this.source = null;
    if (!stream || stream.getAudioTracks().length === 0) {
      this.#show(FLOOR);
      this.#say("");
      return;
    }
    context ??= new AudioContext();
    this.source = context.createMediaStreamSource(stream);
    this.analyser = context.createAnalyser();
    this.analyser.fftSize = 1024;
    this.source.connect(this.analyser);
    this.samples = new Float32Array(this.analyser.fftSize);
    this.loudAt = performance.now();
    this.#measure();
  }

  #measure() {
    this.frame = requestAnimationFrame(() => this.#measure());
    const now = performance.now();
    if (context.state !== "running") {
      // No measure is no silence.
      this.loudAt = now;
      return;
    }
    this.analyser.getFloatTimeDomainData(this.samples);
    let sum = 0;
    for (const sample of this.samples) sum += sample * sample;
    const level = Math.max(FLOOR, 10 * Math.log10(sum / this.samples.length + 1e-12));
    if (level > SILENT_BELOW) this.loudAt = now;
    this.#show(level);
    this.#say(now - this.loudAt > WARN_AFTER ? "Ingen lyd i mere end 10 sekunder. Tjek mikrofonen." : "");
  }

  #show(level) {
    this.fill.style.clipPath = `inset(0 ${100 * (level / FLOOR)}% 0 0)`;
    const now = performance.now();
    if (now - this.spokenAt < SPEAK_EVERY) return;
    this.spokenAt = now;
    this.element.setAttribute("aria-valuenow", Math.round(level));
    this.element.setAttribute("aria-valuetext", level > SILENT_BELOW ? `${Math.round(level)} decibel` : "Ingen lyd");
  }

  #say(text) {
    if (this.warning.textContent !== text) this.warning.textContent = text;
  }
}
