import assert from "node:assert/strict";
import { settingsRead } from "../../src/settingsPlan";

/** An editor that has read nothing yet of a folder whose file says `text`. */
class Editor {
  readonly read = new Set<string>();
  readonly listeners = new Set<() => void>();
  looked = 0;

  constructor(private readonly text: string) {}

  known = (key: string) => this.read.has(key);
  written = () => {
    this.looked += 1;
    return Promise.resolve(this.text);
  };
  onDidRead = (call: () => void) => {
    this.listeners.add(call);
    return { dispose: () => this.listeners.delete(call) };
  };

  reads(key: string): void {
    this.read.add(key);
    this.listeners.forEach((call) => {
      call();
    });
  }
}

/** What is done as soon as nothing is left to be done at once. */
const later = () => new Promise((resolve) => setImmediate(resolve));

describe("settings of a folder", () => {
  const text = '{ "a.b": 1, "a.c": "x" } // "a.comment": 2';

  it("that the editor has not read yet are waited for", async () => {
    const editor = new Editor(text);
    let settled = false;
    const waiting = settingsRead(editor, ["a.b", "a.c", "a.d"]).then(() => (settled = true));
    await later();
    editor.reads("a.d");
    editor.reads("a.b");
    await later();
    assert.equal(settled, false);
    editor.reads("a.c");
    await waiting;
    assert.equal(editor.listeners.size, 0);
  });

  it("that are known, or that nobody wrote, hold nobody up", async () => {
    const editor = new Editor(text);
    await settingsRead(editor, ["a.d"]);
    editor.reads("a.b");
    await settingsRead(editor, ["a.b"]);
    assert.equal(editor.looked, 1);
    assert.equal(editor.listeners.size, 0);
  });

  it("that are read while the file is looked at are seen", async () => {
    const editor = new Editor(text);
    const waiting = settingsRead(editor, ["a.b"]);
    editor.reads("a.b");
    await waiting;
  });

  it("that stand in a comment hold up for a while only", async () => {
    const editor = new Editor(text);
    await settingsRead(editor, ["a.comment"], 1);
    assert.equal(editor.listeners.size, 0);
  });
});
