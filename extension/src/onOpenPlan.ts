// Decisions about what a window does when it opens. Knows nothing of the editor.

import { l10n } from "./l10n";
import type { FolderState } from "./protocol";

const CHOICES = ["nothing", "start", "attach", "startAndAttach"] as const;
export type Choice = (typeof CHOICES)[number];

interface Inspected {
  globalValue?: string;
  workspaceValue?: string;
  workspaceFolderValue?: string;
}

/** What is remembered of a folder, outside of it. */
export interface Remembered {
  /** The question whether to start here has been shown. */
  asked?: boolean;
  /** What the folder's own settings want, as it was asked… */
  offered?: Choice;
  /** …and whether the user agreed. */
  agreed?: boolean;
}

/** `own`: nothing was chosen by anybody. `settings`: those of the workspace choose, and a stranger may have written them. */
export type Plan = { choice: Choice } | { ask: "own" } | { ask: "settings"; choice: Choice };

/** The user's own choice counts; one that came with the folder after the user has agreed to just that. */
export function planOf(inspected: Inspected | undefined, remembered: Remembered, state: FolderState): Plan {
  const { globalValue, workspaceValue, workspaceFolderValue } = inspected ?? {};
  const own = known(globalValue);
  const theirs = known(workspaceFolderValue ?? workspaceValue);
  if (theirs === "nothing" || (theirs !== undefined && theirs === own)) {
    return { choice: theirs };
  }
  if (theirs !== undefined && remembered.offered !== theirs) {
    return firstStep(theirs, state) === "nothing" ? { choice: "nothing" } : { ask: "settings", choice: theirs };
  }
  if (theirs !== undefined && remembered.agreed === true) {
    return { choice: theirs };
  }
  if (own !== undefined || theirs !== undefined) {
    return { choice: own ?? "nothing" };
  }
  return remembered.asked === true || state.phase !== "stopped" ? { choice: "nothing" } : { ask: "own" };
}

function known(value: string | undefined): Choice | undefined {
  return CHOICES.find((choice) => choice === value);
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

/** An answer to the question of a folder for which nobody has chosen anything. `always`: it is written into the settings. */
export interface Answer {
  title: string;
  choice: Choice;
  always: boolean;
}

/** `attaches`: somebody attaches here. */
export function answers(attaches: boolean): Answer[] {
  return [
    { title: l10n.t("Start"), choice: "start", always: false },
    { title: attaches ? l10n.t("Always Start") : l10n.t("Always Start Here"), choice: "start", always: true },
    ...(attaches
      ? [{ title: l10n.t("Always Start and Attach"), choice: "startAndAttach" as const, always: true }]
      : []),
    { title: l10n.t("Never Ask"), choice: "nothing", always: true },
  ];
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
