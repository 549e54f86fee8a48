// What a window has begun and not finished, for the one that comes after it. Knows nothing of the editor.
//
// In files, and not in the editor's storage: a browser may throw away what it was told in the last second before a reload.

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";

interface Note {
  /** The request that began it, without `gpubay/`. */
  method: string;
  /** Its window has gone. */
  left: boolean;
}

export class Unfinished {
  /** Of this process, by folder. */
  private readonly own = new Map<string, string>();
  private gone = false;

  /** @param home where the files lie: one for each folder and process */
  constructor(
    private readonly home: string,
    private readonly warn: (text: string) => void,
    private readonly pid = process.pid,
  ) {}

  /** What is being done for a folder; `undefined`: nothing. After `leave` it is another window's business. */
  note(folder: string, method: string | undefined): void {
    if (this.gone || this.own.get(folder) === method) {
      return;
    }
    if (method === undefined) {
      this.own.delete(folder);
      this.attempt(() => {
        rmSync(this.file(folder, this.pid), { force: true });
      });
    } else {
      this.own.set(folder, method);
      this.write(folder, { method, left: false });
    }
  }

  /** The window closes: what is under way now does not come to its end. */
  leave(): void {
    this.gone = true;
    for (const [folder, method] of this.own) {
      this.write(folder, { method, left: true });
    }
  }

  /**
   * What earlier windows have left unfinished, told once. `unsure`: something is recorded whose window may be about to go,
   * or goes on beside this one.
   */
  take(folder: string): { method: string | undefined; unsure: boolean } {
    let method: string | undefined;
    let unsure = false;
    for (const [file, pid] of this.files(folder)) {
      const record = read(path.join(this.home, file));
      if (!record?.left && pid !== this.pid && isAlive(pid)) {
        unsure = true;
        continue;
      }
      method = record?.method ?? method;
      this.attempt(() => {
        rmSync(path.join(this.home, file), { force: true });
      });
    }
    return { method, unsure };
  }

  /** Those that are not this window's, with the numbers of their processes. */
  private files(folder: string): [string, number][] {
    const begin = `${key(folder)}-`;
    let names: string[];
    try {
      names = readdirSync(this.home);
    } catch {
      return [];
    }
    return (
      names
        .filter((name) => name.startsWith(begin))
        .map((name): [string, number] => [name, Number(name.slice(begin.length))])
        // A number may come again.
        .filter(([, pid]) => Number.isInteger(pid) && !(pid === this.pid && this.own.has(folder)))
    );
  }

  private file(folder: string, pid: number): string {
    return path.join(this.home, `${key(folder)}-${String(pid)}`);
  }

  private write(folder: string, record: Note): void {
    this.attempt(() => {
      mkdirSync(this.home, { recursive: true });
      writeFileSync(this.file(folder, this.pid), JSON.stringify(record));
    });
  }

  private attempt(what: () => void): void {
    try {
      what();
    } catch (error) {
      this.warn(`what is unfinished cannot be noted: ${String(error)}`);
    }
  }
}

function key(folder: string): string {
  return createHash("sha256").update(folder).digest("hex").slice(0, 16);
}

function read(file: string): Note | undefined {
  try {
    const { method, left } = JSON.parse(readFileSync(file, "utf8")) as Partial<Note>;
    return typeof method === "string" ? { method, left: left === true } : undefined;
  } catch {
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // It is another user's: not the one that wrote the file.
    return (error as NodeJS.ErrnoException).code !== "ESRCH" && (error as NodeJS.ErrnoException).code !== "EPERM";
  }
}
