// Decisions about what a window does when it opens. Knows nothing of the editor.

import type { FolderState } from "./protocol";

const CHOICES = ["nothing", "start", "attach", "startAndAttach"] as const;
export type Choice = (typeof CHOICES)[number];

interface Inspected {
  globalValue?: string;
  workspaceValue?: string;
  workspaceFolderValue?: string;
}

/** What the user has chosen, the nearest first; `undefined`: nobody has been asked. */
export function choiceOf(inspected: Inspected | undefined): Choice | undefined {
  const { globalValue, workspaceValue, workspaceFolderValue } = inspected ?? {};
  const set = workspaceFolderValue ?? workspaceValue ?? globalValue;
  return CHOICES.find((choice) => choice === set);
}

/** What of it there is to do: `attach` alone starts nothing. */
export function firstStep(choice: Choice, state: FolderState): Choice {
  const runs = state.phase === "running" || state.phase === "drifted";
  if (state.work || (!runs && state.phase !== "stopped")) {
    return "nothing";
  }
  switch (choice) {
    case "start":
      return runs ? "nothing" : "start";
    case "attach":
      return runs ? "attach" : "nothing";
    case "startAndAttach":
      return runs ? "attach" : "startAndAttach";
    case "nothing":
      return "nothing";
  }
}

const STARTS = ["up", "rebuild", "restart", "selectGpus"];

/**
 * Whether what the window before this one was starting when it was closed came to nothing. `open`: what is left of it may
 * still be on its way out.
 */
export function interrupted(before: string | undefined, state: FolderState | undefined): "yes" | "no" | "open" {
  if (!STARTS.includes(before ?? "") || state?.work) {
    return "no";
  }
  return state?.phase === "stopped" ? "yes" : "open";
}
