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
  const what = cancelling ? l10n.t("Cancelling and cleaning up…") : short(step ?? "", 200);
  return [what, time].filter((part) => part !== "").join(" · ");
}
