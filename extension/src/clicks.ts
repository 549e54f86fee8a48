// Clicks on one thing. Knows nothing of the editor.

/** What comes sooner after a click is its other half: nobody has seen yet what the first one brought about. */
const DOUBLE_MS = 500;

export class Clicks {
  private last = -Infinity;

  /** Whether this one means something by itself. */
  counts(now: number): boolean {
    const counts = now - this.last >= DOUBLE_MS;
    this.last = now;
    return counts;
  }
}
