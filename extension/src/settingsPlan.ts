// Settings of a folder, once the editor has read them. Knows nothing of the editor.

/** How long a setting may take that its file names; longer than that it is a comment's, or nobody's. */
const LATE_MS = 5000;

export interface Settings {
  /** Whether the editor knows that this setting is set in the folder. */
  known(key: string): boolean;
  /** The text of the folder's settings file; empty where there is none. */
  written(): Promise<string>;
  /** Calls when the editor has read settings anew, until it is told to stop. */
  onDidRead(call: () => void): { dispose(): void };
}

/**
 * A window on another machine starts its extensions before it has read the settings of its folders there, and answers as if
 * nothing were set. Where a folder's file names one of `keys` and the editor does not know of it, its reading is waited for.
 */
export async function settingsRead(settings: Settings, keys: string[], patience = LATE_MS): Promise<void> {
  const missing = async () => {
    const unknown = keys.filter((key) => !settings.known(key));
    const text = unknown.length > 0 ? await settings.written() : "";
    return unknown.filter((key) => text.includes(`"${key}"`));
  };
  const late = await missing();
  if (late.every((key) => settings.known(key))) {
    return;
  }
  await new Promise<void>((resolve) => {
    const done = () => {
      clearTimeout(timer);
      listener.dispose();
      resolve();
    };
    const timer = setTimeout(done, patience);
    const listener = settings.onDidRead(() => {
      if (late.every((key) => settings.known(key))) {
        done();
      }
    });
  });
}
