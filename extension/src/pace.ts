// What comes faster than anybody can look is passed on now and then, and the last of it always. Knows nothing of the editor.

const BEAT_MS = 50;

export class Pace<T> {
  /** What came within the beat that goes on now. */
  private readonly beats = new Map<T, { more: boolean; timer: NodeJS.Timeout }>();

  constructor(
    private readonly pass: (about: T) => void,
    private readonly beat = BEAT_MS,
  ) {}

  /** Something about it is new: passed on at once, or with what else comes within the beat. */
  tell(about: T): void {
    const now = this.beats.get(about);
    if (now) {
      now.more = true;
      return;
    }
    const timer = setTimeout(() => {
      const { more } = this.beats.get(about) ?? { more: false };
      this.beats.delete(about);
      if (more) {
        this.tell(about);
      }
    }, this.beat);
    this.beats.set(about, { more: false, timer });
    this.pass(about);
  }

  dispose(): void {
    for (const { timer } of this.beats.values()) {
      clearTimeout(timer);
    }
    this.beats.clear();
  }
}
