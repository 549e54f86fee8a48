// Which question follows from which failure, and the words of the questions. Knows nothing of the editor.

import { sentence } from "../failure";
import { l10n } from "../l10n";
import type { AskedPower, Failure, FolderState, Row } from "../protocol";
import type { WorkMethod } from "../session";

/** What has been agreed to in the course of one piece of work. */
export interface Agreed {
  /** Keys of powers. */
  allow: readonly string[];
  /** What runs may end: the request's own `consent`. */
  consent: boolean;
  /** What has vanished in the container has been followed. */
  followed: boolean;
}

/** `all`: it ends jobs as well, and they are to be listed. */
export type Asked =
  | { about: "powers"; missing: AskedPower[] }
  | { about: "dockerfile" }
  | { about: "end"; all: boolean }
  | { about: "follow" };

/** What is to be asked before a piece of work is tried once more; `undefined`: it has failed. */
export function asked(method: WorkMethod, failure: Failure, agreed: Agreed): Asked | undefined {
  switch (failure.code) {
    case "needs_consent": {
      const missing = failure.powers.filter((power) => !agreed.allow.includes(power.key));
      return missing.length > 0 ? { about: "powers", missing } : undefined;
    }
    case "ambiguous_dockerfile":
      return failure.candidates.length > 0 ? { about: "dockerfile" } : undefined;
    case "work_running":
      return agreed.consent ? undefined : { about: "end", all: method === "gpubay/down" };
    case "mirror_halted":
      // A yes here is none to the end of what runs, which is what `consent` says to all but `gpubay/sync`.
      return agreed.followed ? undefined : { about: "follow" };
    default:
      return undefined;
  }
}

/** What the failure itself says of what would end: its lines without leading marks and without their heading. */
export function listed({ message }: Failure): string[] {
  const lines = message.split("\n").map((line) => line.replace(/^[\s•*-]+/, "").trim());
  const said = lines.filter((line) => line !== "");
  return said.length > 1 && said[0]?.endsWith(":") ? said.slice(1) : said;
}

/** The helper names containers as the engine does: in a folder's own dialog a job has its name, and the dev container needs none. */
export function byName(lines: readonly string[], state: Pick<FolderState, "container" | "jobs"> | undefined): string[] {
  const names = new Map(state?.jobs.map(({ name, job }) => [name, `${job ?? name}: `]));
  if (state?.container) {
    names.set(state.container.name, "");
  }
  return lines.map((line) => {
    const [name = ""] = line.split(": ", 1);
    const known = names.get(name);
    return known === undefined ? line : `${known}${line.slice(name.length + 2)}`;
  });
}

/** A modal dialog's; `detail` is shown as it is. */
export interface Question {
  message: string;
  detail: string;
  yes: string;
  /** Of what ends something: the first button, which changes nothing. */
  no?: string;
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

export function runningQuestion(folder: string, title: string, running: readonly string[]): Question {
  return {
    message: l10n.t("Something of yours runs in “{0}”, and would end.", folder),
    detail: [...running.map((line) => `• ${line}`), "", title].join("\n"),
    yes: l10n.t("End It and Go On"),
    no: l10n.t("Let It Run"),
  };
}

/** `gpus`: those that the new one has as well, since they were picked. */
export function recreateQuestion(folder: string, drift: string[], lost: string[], gpus?: string): Question {
  const parts: string[] = [];
  if (drift.length > 0) {
    parts.push(l10n.t("Why it is made anew:"), ...drift.map((line) => `• ${line}`), "");
  }
  if (lost.length > 0) {
    parts.push(l10n.t("What runs and what is lost:"), ...lost.map((line) => `• ${line}`), "");
  } else {
    parts.push(l10n.t("Nothing runs in it, and nothing is lost."), "");
  }
  if (gpus !== undefined) {
    parts.push(l10n.t("The GPUs that were picked stay: {0}.", gpus));
  }
  parts.push(l10n.t("The workspace, the virtual environment, caches and persistent folders stay."));
  return {
    message: l10n.t("Make the container of “{0}” anew?", folder),
    detail: parts.join("\n"),
    yes: l10n.t("Recreate"),
    no: l10n.t("Keep It"),
  };
}

/** `jobs`: all that there are, those that have ended, too. */
export function removeQuestion(folder: string, container: boolean, jobs: readonly Row[], lost: string[]): Question {
  const parts: string[] = [];
  if (container) {
    parts.push(`• ${l10n.t("the dev container")}`);
  }
  for (const job of jobs) {
    const name = job.job ?? job.name;
    const runs = job.state === "running" || job.state === "paused";
    parts.push(
      job.state === "waiting"
        ? `• ${l10n.t("job {0}, which waits for GPUs", name)}`
        : runs
          ? `• ${l10n.t("job {0}, which runs", name)}`
          : `• ${l10n.t("job {0}, which has ended, and its output", name)}`,
    );
  }
  if (lost.length > 0) {
    parts.push("", l10n.t("What runs and what is lost:"), ...lost.map((line) => `• ${line}`));
  }
  parts.push("", l10n.t("The workspace, the virtual environment, caches and persistent folders stay."));
  return {
    message: l10n.t("Remove the containers of “{0}”?", folder),
    detail: parts.join("\n").trim(),
    yes: l10n.t("Remove"),
    no: l10n.t("Keep Them"),
  };
}

export function deletionsQuestion(failure: Failure): Question {
  return {
    message: l10n.t("Most of a folder of packages has vanished in the container. Follow it?"),
    detail: sentence({ ...failure, hint: null }),
    yes: l10n.t("Follow It"),
  };
}
