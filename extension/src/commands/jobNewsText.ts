// Knows nothing of the editor.

import type { FolderState } from "../protocol";

export type Seen = Pick<FolderState, "jobs" | "work">;

/** Jobs that ran when they were looked at last, and have ended with something else than 0 since; none while this user ends some. */
export function failedSince(before: Seen, now: Seen): Seen["jobs"] {
  // That one has ended is often told only when the work that ended it is over.
  if (ends(before) || ends(now)) {
    return [];
  }
  const ran = new Set(before.jobs.filter(({ exit_code }) => exit_code === null).map(({ id }) => id));
  return now.jobs.filter(({ id, exit_code }) => ran.has(id) && exit_code !== null && exit_code !== 0);
}

/** What is ended by hand is no news. */
function ends({ work }: Seen): boolean {
  return work !== null && ["stop", "down", "rm"].includes(work.method);
}
