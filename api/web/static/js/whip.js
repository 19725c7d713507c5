// Publishes a stream over WHIP (RFC 9725), and comes back by itself when the connection is lost. Which codec is sent is
// the recorder's choice.

import { gathered } from "./whep.js";

const FIRST_WAIT = 1000;
const GREATEST_WAIT = 10000;

export class WhipPublisher {
  constructor({ endpoint, token, stream, onState }) {
    Object.assign(this, { endpoint, token, stream, onState });
    this.wait = FIRST_WAIT;
  }

  start() {
    this.running = true;
    this.#connect();
  }

  async stop() {
    this.running = false;
    clearTimeout(this.retry);
    // The goodbye first: closing the connection before it would look like a camera that was lost.
    await this.#end();
    await this.#drop();
    this.onState("stopped");
  }

  async #connect() {
    this.onState("connecting");
    const peer = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.peer = peer;
    try {
      for (const track of this.stream.getTracks()) {
        const transceiver = peer.addTransceiver(track, { direction: "sendonly", streams: [this.stream] });
          if (track.kind === "video") await keepSize(transceiver.sender);
          offerCaptureTime(transceiver);
      }
      peer.addEventListener("connectionstatechange", () => {
        if (peer !== this.peer) return;
        if (peer.connectionState === "connected") {
          this.wait = FIRST_WAIT;
          this.onState("live");
        } else if (peer.connectionState === "failed" || peer.connectionState === "disconnected") {
          this.#again("lost");
        }
      });
      await peer.setLocalDescription();
      await gathered(peer);
      const response = await fetch(this.endpoint, {
        method: "POST",
        headers: { "Content-Type": "application/sdp", Authorization: `Bearer ${this.token}` },
        body: peer.localDescription.sdp,
      });
      if (peer !== this.peer) return;
      if (response.status === 401 || response.status === 403) {
        this.running = false;
        await this.#drop();
        this.onState("refused");
        return;
      }
      if (response.status !== 201) {
        this.#again(response.status === 409 ? "taken" : "lost");
        return;
      }
      this.session = new URL(response.headers.get("Location"), window.location.href).href;
      await peer.setRemoteDescription({ type: "answer", sdp: await response.text() });
    } catch {
      if (peer === this.peer) this.#again("lost");
    }
  }

  #again(state) {
    this.#drop();
    if (!this.running) return;
    this.onState(state);
    this.retry = setTimeout(() => this.#connect(), this.wait);
    this.wait = Math.min(this.wait * 2, GREATEST_WAIT);
  }

  async #drop() {
    const { peer } = this;
    this.peer = undefined;
    peer?.close();
    await this.#end();
  }

  async #end() {
    const { session } = this;
    this.session = undefined;
    if (!session) return;
    await fetch(session, { method: "DELETE", headers: { Authorization: `Bearer ${this.token}` }, keepalive: true }).catch(() => {});
  }
}

// Fewer pictures rather than smaller ones: else a browser begins small, and takes seconds to believe the line.
async function keepSize(sender) {
  const parameters = sender.getParameters();
  parameters.degradationPreference = "maintain-resolution";
  await sender.setParameters(parameters).catch(() => { /* this browser decides by itself */ });
}

// When each picture and sound was captured: the recorder places them by it. Not every browser has it.
function offerCaptureTime(transceiver) {
  const extensions = transceiver.getHeaderExtensionsToNegotiate?.() ?? [];
  const wanted = extensions.find(({ uri }) => uri.endsWith("/abs-capture-time"));
  if (!wanted) return;
  wanted.direction = "sendonly";
  transceiver.setHeaderExtensionsToNegotiate(extensions);
}
