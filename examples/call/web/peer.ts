import type { Signals } from './signals.js';

export interface PeerEvents {
  onStream: (stream: MediaStream) => void;
  onText: (text: string) => void;
  onState: (state: RTCPeerConnectionState) => void;
}

/** Where the other side is. */
export interface PeerAddress {
  user: string;
  /** The page that has taken the call. */
  page: string;
  call: string;
}

/**
 * A direct connection to the other page: its media, and a channel for text. Pages that cannot reach each other need
 * a TURN server in `iceServers`; in one network none is needed.
 */
export class Peer {
  readonly #connection = new RTCPeerConnection({ iceServers: [] });
  readonly #channel: RTCDataChannel;
  readonly #signals: Signals;
  readonly #address: PeerAddress;
  /** Candidates may come before the description that they belong to. */
  readonly #early: RTCIceCandidateInit[] = [];

  /** @param isCaller the caller offers, the other side answers. */
  constructor(
    signals: Signals,
    address: PeerAddress,
    stream: MediaStream,
    isCaller: boolean,
    { onStream, onText, onState }: PeerEvents,
  ) {
    this.#signals = signals;
    this.#address = address;
    const connection = this.#connection;
    // The same on both sides, so that neither waits for the other to open it.
    this.#channel = connection.createDataChannel('text', { negotiated: true, id: 0 });
    this.#channel.onmessage = ({ data }) => {
      onText(String(data));
    };
    for (const track of stream.getTracks()) connection.addTrack(track, stream);
    connection.ontrack = ({ streams }) => {
      if (streams[0] !== undefined) onStream(streams[0]);
    };
    connection.onicecandidate = ({ candidate }) => {
      const { user, page, call } = address;
      if (candidate !== null) signals.sendCandidate(user, call, page, candidate.toJSON());
    };
    connection.onconnectionstatechange = () => {
      const { connectionState } = connection;
      // The network has changed: new candidates are found, and offered.
      if (connectionState === 'failed' && isCaller) connection.restartIce();
      onState(connectionState);
    };
    if (isCaller) connection.onnegotiationneeded = () => void this.#describe();
  }

  get isTextOpen(): boolean {
    return this.#channel.readyState === 'open';
  }

  say(text: string): void {
    this.#channel.send(text);
  }

  /** An offer, which is answered, or the answer to one's own. */
  async takeDescription(description: RTCSessionDescriptionInit): Promise<void> {
    // What is still on its way when one has hung up.
    if (this.#isClosed) return;
    await this.#connection.setRemoteDescription(description);
    for (const candidate of this.#early.splice(0))
      await this.#connection.addIceCandidate(candidate);
    if (description.type === 'offer') await this.#describe();
  }

  async takeCandidates(candidates: readonly RTCIceCandidateInit[]): Promise<void> {
    if (this.#isClosed) return;
    if (this.#connection.remoteDescription === null) {
      this.#early.push(...candidates);
      return;
    }
    for (const candidate of candidates) await this.#connection.addIceCandidate(candidate);
  }

  get #isClosed(): boolean {
    return this.#connection.signalingState === 'closed';
  }

  close(): void {
    this.#connection.close();
  }

  /** Makes an offer or an answer, whichever is due, and sends it. */
  async #describe(): Promise<void> {
    await this.#connection.setLocalDescription();
    const description = this.#connection.localDescription;
    if (description === null) return;
    const { user, page, call } = this.#address;
    const data = { call, to: page, description: description.toJSON() };
    await this.#signals.send(user, 'call.description', data);
  }
}
