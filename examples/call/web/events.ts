/** What two pages say to each other; `message.from` is the user who says it. */
export interface CallEvents {
  /** Rings on all devices of the one who is called. */
  'call.invite': { call: string; page: string };
  /** One of them has taken it. */
  'call.accept': { call: string; page: string };
  /** To one's own other devices: somebody has taken it, or does not want to. */
  'call.settled': { call: string; page: string };
  /** It is over, or was never wanted. */
  'call.end': { call: string };
  /** An offer or an answer, for one page. */
  'call.description': { call: string; to: string; description: RTCSessionDescriptionInit };
  /** Addresses at which the other page may be reached; as many as were found together. */
  'call.candidates': { call: string; to: string; candidates: RTCIceCandidateInit[] };
}

/** How long it rings. */
export const RING_MS = 30_000;
