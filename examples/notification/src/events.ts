/** What the server sends to the users' devices. */
export interface NotificationEvents {
  notification: { title: string; text: string };
}

/** What the office sees of a notification that it has caused. */
export interface Sent {
  id: string;
  user: string;
  text: string;
  /** What became of it, and for how long it has been so. */
  outcome: string;
}
