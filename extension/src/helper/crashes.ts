// How often the helper may end unasked before it is left alone. Knows nothing of the editor.

const WINDOW_MS = 3 * 60 * 1000;
const LIMIT = 4;

export class Crashes {
  private times: number[] = [];

  /** Takes note of one; whether the helper is to be started again. */
  mayRestart(now: number): boolean {
    this.times = [...this.times.filter((time) => now - time < WINDOW_MS), now];
    return this.times.length <= LIMIT;
  }

  /** The user wants it once more. */
  forget(): void {
    this.times = [];
  }
}
