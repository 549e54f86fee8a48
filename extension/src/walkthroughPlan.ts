// Knows nothing of the editor.

import type { FolderState } from "./protocol";

export type Reached = "hasImage" | "hasContainer" | "hasEnvironment" | "hasJob";

/** Steps of the walkthrough that a folder has behind it. */
export function reached(state: FolderState | undefined): Reached[] {
  if (!state || state.phase === "looking" || state.phase === "untrusted") {
    return [];
  }
  const runs = state.phase === "running" || state.phase === "drifted";
  const steps: [Reached, boolean][] = [
    ["hasImage", runs || state.phase === "stopped"],
    ["hasContainer", runs],
    ["hasEnvironment", runs && state.hostEnv !== null],
    ["hasJob", state.jobs.length > 0],
  ];
  return steps.filter(([, done]) => done).map(([step]) => step);
}
