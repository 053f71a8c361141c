/** What two pages say to each other; `message.from` is the user who says it. */
export interface CallEvents {
  /** Rings on all devices of the one who is called. */
  'call.invite': { call: string; page: string };
  /** One of them would take it. */
  'call.accept': { call: string; page: string };
  /** The caller's word on who has it: of two that accept at the same moment, one is too late. */
  'call.taken': { call: string; page: string };
  /** To one's own other devices. */
  'call.declined': { call: string; page: string };
  /** It is over for this page, or was never wanted. */
  'call.end': { call: string; page: string };
  /** An offer or an answer, for one page. */
  'call.description': { call: string; to: string; description: RTCSessionDescriptionInit };
  /** Addresses at which the other page may be reached; as many as were found together. */
  'call.candidates': { call: string; to: string; candidates: RTCIceCandidateInit[] };
}

/** How long it rings. */
export const RING_MS = 30_000;
