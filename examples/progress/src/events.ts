/** How far a job is. */
export interface Progress {
  job: string;
  /** Numbers looked at. */
  done: number;
  total: number;
  /** Primes among them. */
  found: number;
}

/** What the worker sends to the devices of the user whose job it is. */
export interface ProgressEvents {
  'job.progress': Progress;
  'job.done': Progress;
}
