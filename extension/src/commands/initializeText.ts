// Knows nothing of the editor.

import { l10n } from "../l10n";
import type { InitReport } from "../protocol";
import { capital, ended } from "../text";
import type { Question } from "../work/questionText";

/** What would be written, and what is left. */
export function initQuestion(folder: string, { files, base, weight, notes }: InitReport): Question {
  const written = files.filter(({ state }) => state !== "left").map(({ path }) => `• ${path}`);
  const left = files
    .filter(({ state }) => state === "left")
    .map(({ path, reason }) => `• ${path}${reason ? `: ${reason}` : ""}`);
  const parts: string[] = [];
  if (written.length > 0) {
    parts.push(l10n.t("New files:"), ...written, "");
  }
  if (left.length > 0) {
    parts.push(l10n.t("Left as it is:"), ...left, "");
  }
  if (base !== null) {
    const size = download(weight);
    parts.push(size ? l10n.t("Built on {0} ({1} GB to download)", base, size) : l10n.t("Built on {0}", base));
  }
  parts.push(...notes.filter(saidHere).map((note) => ended(capital(note))));
  return {
    message:
      written.length > 0
        ? l10n.t("Write these files into “{0}”?", folder)
        : l10n.t("“{0}” has everything already.", folder),
    detail: parts.join("\n").trim(),
    yes: written.length > 0 ? l10n.t("Write") : l10n.t("OK"),
  };
}

/** What a command line could do besides is no news in a dialog that has no command line. */
function saidHere(note: string): boolean {
  return !note.includes("`--");
}

/** In GB, where something is to be downloaded. */
function download(weight: InitReport["weight"]): string | undefined {
  const bytes = (weight?.images ?? []).reduce(
    (sum, image) => sum + (image.present_bytes === null ? (image.compressed_bytes ?? 0) : 0),
    0,
  );
  return bytes > 0 ? (bytes / 1e9).toFixed(1) : undefined;
}
