// The words of the questions. Knows nothing of the editor.

import { sentence } from "../failure";
import { l10n } from "../l10n";
import type { AskedPower, Failure } from "../protocol";

/** A modal dialog's; `detail` is shown as it is. */
export interface Question {
  message: string;
  detail: string;
  yes: string;
}

/** Names each power, the grave ones first. */
export function powersQuestion(folder: string, powers: AskedPower[]): Question {
  const grave = powers.filter((power) => power.grave);
  const usual = powers.filter((power) => !power.grave);
  const list = (some: AskedPower[]) => some.map((power) => `• ${power.sentence} (${power.label})`);
  const parts: string[] = [];
  if (grave.length > 0) {
    parts.push(l10n.t("These can take over the machine or your account:"), ...list(grave), "");
  }
  if (usual.length > 0) {
    parts.push(grave.length > 0 ? l10n.t("And these reach beyond the folder:") : l10n.t("It…"), ...list(usual), "");
  }
  parts.push(l10n.t("The answer is kept outside of the workspace; any change asks again."));
  return {
    message: l10n.t("“{0}” asks for more than its own folder. Allow it?", folder),
    detail: parts.join("\n"),
    yes: l10n.t("Allow"),
  };
}

export function runningQuestion(folder: string, title: string, running: string[]): Question {
  return {
    message: l10n.t("Something of yours runs in “{0}”, and would end.", folder),
    detail: [...running.map((line) => `• ${line}`), "", title].join("\n"),
    yes: l10n.t("End It and Go On"),
  };
}

export function recreateQuestion(folder: string, drift: string[], lost: string[]): Question {
  const parts: string[] = [];
  if (drift.length > 0) {
    parts.push(l10n.t("What changes:"), ...drift.map((line) => `• ${line}`), "");
  }
  if (lost.length > 0) {
    parts.push(l10n.t("What runs and what is lost:"), ...lost.map((line) => `• ${line}`), "");
  } else {
    parts.push(l10n.t("Nothing runs in it, and nothing is lost."), "");
  }
  parts.push(l10n.t("The workspace, the virtual environment, caches and persistent folders stay."));
  return {
    message: l10n.t("Make the container of “{0}” anew?", folder),
    detail: parts.join("\n"),
    yes: l10n.t("Recreate"),
  };
}

export function deletionsQuestion(failure: Failure): Question {
  return {
    message: l10n.t("Most of a folder of packages has vanished in the container. Follow it?"),
    detail: sentence({ ...failure, hint: null }),
    yes: l10n.t("Follow It"),
  };
}
