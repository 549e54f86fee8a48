// Knows nothing of the editor.

import type { Row } from "../protocol";

/** Jobs that ran when they were looked at last, and have ended with something else than 0 since. */
export function failedSince(before: readonly Row[], now: readonly Row[]): Row[] {
  const ran = new Set(before.filter(({ exit_code }) => exit_code === null).map(({ id }) => id));
  return now.filter(({ id, exit_code }) => ran.has(id) && exit_code !== null && exit_code !== 0);
}
