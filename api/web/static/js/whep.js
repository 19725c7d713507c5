// Watches one camera over WHEP. Connects, keeps the lease, comes back by itself, and always says how it is:
// connecting, arriving, live, unsteady, frozen, lost, waiting, refused, unsupported.

const RENEW_EVERY = 5000;
const CHECK_EVERY = 1000;
const FROZEN_AFTER = 3000;
const GATHER_AT_MOST = 2000;
const FIRST_WAIT = 1000;
const GREATEST_WAIT = 10000;
const LIVE_WITHIN = 10000;
// Whoever joins is given the pictures since the last key frame at once, however old they are: live is what goes on.
const GOES_ON_FOR = 1500;
const UNSTEADY_LOSS = 0.02;

export class WhepClient {
  constructor({ url, csrf, onStream, onState }) {
    this.url = url;
    this.csrf = csrf;
    this.onStream = onStream;
    this.onState = onState;
    this.wait = FIRST_WAIT;
    this.attempt = 0;
  }

  start() {
    this.running = true;
    this.#connect();
  }

  async stop() {
    this.running = false;
    clearTimeout(this.retry);
    this.#drop();
  }

  async #connect() {
    const attempt = ++this.attempt;
    this.#drop();
    this.onState("connecting");
    try {
      const answer = await this.#offer(attempt);
      if (attempt !== this.attempt || !this.running) return;
      if (answer === null) return;
      await this.peer.setRemoteDescription({ type: "answer", sdp: answer });
      this.renewing = setInterval(() => this.#renew(attempt), RENEW_EVERY);
      this.checking = setInterval(() => this.#check(attempt), CHECK_EVERY);
      this.begun = performance.now();
    } catch {
      if (attempt === this.attempt) this.#again("lost");
    }
  }

  async #offer(attempt) {
    const peer = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.peer = peer;
    const stream = new MediaStream();
    peer.addTransceiver("video", { direction: "recvonly" });
    peer.addTransceiver("audio", { direction: "recvonly" });
    peer.addEventListener("track", ({ track, receiver }) => {
      // Seen at once rather than smoothly: the defence speaks with the interviewer about what is happening now.
      if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
      stream.addTrack(track);
      this.onStream(stream);
    });
    peer.addEventListener("connectionstatechange", () => {
      if (attempt === this.attempt && ["failed", "disconnected", "closed"].includes(peer.connectionState)) this.#again("lost");
    });
    await peer.setLocalDescription();
    await gathered(peer);
    const response = await fetch(this.url, {
      method: "POST",
      headers: { "Content-Type": "application/sdp", "Vidne-CSRF": this.csrf },
      body: peer.localDescription.sdp,
    });
    if (response.status === 201) {
      this.session = response.headers.get("Location");
      const sdp = await response.text();
      if (attempt !== this.attempt || !this.running) this.#drop();
      return sdp;
    }
    if (response.status === 401 || response.status === 403) this.#end("refused");
    else if (response.status === 406) this.#end("unsupported");
    else this.#again(response.status === 409 ? "waiting" : "lost", Number(response.headers.get("Retry-After")) * 1000);
    return null;
  }

  async #renew(attempt) {
    try {
      const response = await fetch(`${this.session}/lease`, { method: "PUT", headers: { "Vidne-CSRF": this.csrf } });
      if (attempt !== this.attempt || response.ok) return;
      if (response.status === 401 || response.status === 403) this.#end("refused");
      else if (response.status === 404) this.#again("lost");
    } catch {
      // The server is out of reach for a moment. The picture runs on until the monitor room ends the lease, and its
      // end is seen in #check; nothing better can be done from here.
    }
  }

  async #check(attempt) {
    const reports = await this.peer.getStats();
    if (attempt !== this.attempt) return;
    const now = performance.now();
    for (const report of reports.values()) {
      if (report.type !== "inbound-rtp" || report.kind !== "video") continue;
      if (report.framesDecoded && report.framesDecoded !== this.frames) {
        this.frames = report.framesDecoded;
        this.framesAt = now;
      }
      if (this.frames) {
        // By when packets came: how long decoding them takes says nothing of how old they are.
        this.firstAt ??= report.lastPacketReceivedTimestamp;
        this.goesOn = !(report.lastPacketReceivedTimestamp - this.firstAt < GOES_ON_FOR);
      }
      const received = report.packetsReceived - (this.received ?? 0);
      const lost = report.packetsLost - (this.lost ?? 0);
      this.received = report.packetsReceived;
      this.lost = report.packetsLost;
      this.unsteady = received + lost > 0 && lost / (received + lost) > UNSTEADY_LOSS;
    }
    if (!this.frames) {
      if (now - this.begun > LIVE_WITHIN) this.#again("waiting");
    } else if (now - this.framesAt > FROZEN_AFTER * 2) {
      this.#again("frozen");
    } else if (now - this.framesAt > FROZEN_AFTER) {
      this.still = true;
      this.onState("frozen");
    } else {
      this.wait = FIRST_WAIT;
      if (!this.goesOn) {
        this.onState(this.still ? "frozen" : "arriving");
        return;
      }
      this.still = false;
      this.onState(this.unsteady ? "unsteady" : "live");
    }
  }

  #again(state, wait) {
    this.attempt += 1;
    this.#drop();
    if (!this.running) return;
    this.onState(state);
    this.retry = setTimeout(() => this.#connect(), wait || this.wait);
    this.wait = Math.min(this.wait * 2, GREATEST_WAIT);
  }

  #end(state) {
    this.attempt += 1;
    this.running = false;
    this.#drop();
    this.onState(state);
  }

  #drop() {
    clearInterval(this.renewing);
    clearInterval(this.checking);
    if (this.session) {
      fetch(this.session, { method: "DELETE", headers: { "Vidne-CSRF": this.csrf }, keepalive: true }).catch(() => {});
    }
    this.peer?.close();
    this.onStream(null);
    this.peer = this.session = this.frames = this.firstAt = this.goesOn = this.received = this.lost = undefined;
  }
}

// One offer with every candidate in it: the server takes no trickle.
export function gathered(peer) {
  if (peer.iceGatheringState === "complete") return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, GATHER_AT_MOST);
    peer.addEventListener("icegatheringstatechange", () => {
      if (peer.iceGatheringState !== "complete") return;
      clearTimeout(timer);
      resolve();
    });
  });
}
