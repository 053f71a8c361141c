/** When a device wants no push: what comes then waits for the end, if it may wait so long. */
export interface QuietHours {
  /** A time of day, as `22:30`. */
  from: string;
  to: string;
  /** As `Europe/Berlin`. */
  timeZone: string;
}

/** What a device wants to be told of by push. */
export interface PushPreferences {
  /** Groups whose messages are not pushed to this device. Default: none. */
  mutedGroups?: string[];
  /** Default: none. */
  quietHours?: QuietHours;
  /**
   * `message` (default): each push is shown by itself, unless its sender says otherwise. `conversation`: the
   * newest of a group, or of a sender, replaces the one before.
   */
  collapse?: 'message' | 'conversation';
}

/** By what a device is reached when it is not connected, and what it wants. */
export type PushRegistration = {
  /** The language that its pushes are to have, as `de` or `pt-BR`. Default: that of the push itself. */
  language?: string;
  /** Default: everything, at any time. */
  preferences?: PushPreferences;
} & (
  | {
      /** A browser's push service. `subscribeToPush` of `@warren/client/web-push` does all of it. */
      provider: 'webpush';
      /** What `PushManager.subscribe` has given. */
      subscription: { toJSON: () => object };
    }
  | {
      /** Firebase Cloud Messaging, for Android and iOS; or the application's own push proxy. */
      provider: 'fcm' | 'webhook';
      /** FCM's registration token, or whatever the proxy knows the device by. */
      token: string;
    }
);
