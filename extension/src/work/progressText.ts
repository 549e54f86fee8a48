// What a progress notification says. Knows nothing of the editor.

import { l10n } from "../l10n";
import { short } from "../text";

/** `7 s`, `3 min 5 s`; nothing at first, so that quick work does not flicker. */
export function elapsed(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 2) {
    return "";
  }
  const [minutes, rest] = [Math.floor(seconds / 60), seconds % 60];
  return minutes > 0 ? l10n.t("{0} min {1} s", minutes, rest) : l10n.t("{0} s", rest);
}

export function message(step: string | undefined, time: string, cancelling: boolean): string {
  const what = cancelling ? l10n.t("Cancelling and cleaning up…") : short(inWords(step ?? ""), 200);
  return [what, time].filter((part) => part !== "").join(" · ");
}

/** Titles of steps as the helper and BuildKit begin them, in the words of this window. */
export const TITLES: Record<string, () => string> = {
  "Starting the container": () => l10n.t("Starting the container"),
  "Preparing the container's Python": () => l10n.t("Preparing the container's Python"),
  "Mirroring the image's Python packages": () => l10n.t("Mirroring the image's Python packages"),
  "Mirroring the container's Python packages": () => l10n.t("Mirroring the container's Python packages"),
  "Installing requirements": () => l10n.t("Installing requirements"),
  "Sending the build context": () => l10n.t("Sending the build context"),
  "Waiting for GPUs": () => l10n.t("Waiting for GPUs"),
  "exporting to image": () => l10n.t("Saving the image"),
  "[internal] load build definition": () => l10n.t("Reading what is to be built"),
  "[internal] load metadata": () => l10n.t("Looking for the base image"),
  "[internal] load build context": () => l10n.t("Sending the build context"),
};

/** What follows the title, an amount or a name, stays. */
export function inWords(step: string): string {
  const title = Object.keys(TITLES).find((title) => step.startsWith(title));
  return title === undefined ? step : `${TITLES[title]?.() ?? title}${step.slice(title.length)}`;
}
