// For which folders the GPUs are watched. Knows nothing of the editor.

import type { FolderState } from "../protocol";

export interface Watchable {
  folder: string;
  state: FolderState | undefined;
  /** The picker or the view shows its GPUs. */
  looked: boolean;
}

/** None while nobody can see it: the driver is asked again and again for those that are watched. */
export function watched(focused: boolean, folders: readonly Watchable[]): string[] {
  return focused ? folders.filter(isShown).map(({ folder }) => folder) : [];
}

function isShown({ state, looked }: Watchable): boolean {
  if (!state || state.phase === "looking" || state.phase === "untrusted") {
    return false;
  }
  const runs = state.phase === "running" || state.phase === "drifted";
  return looked || (runs && state.gpu !== null && state.gpu.injection !== "none" && state.gpu.devices.length > 0);
}
