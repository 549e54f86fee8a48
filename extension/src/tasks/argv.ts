// What a task of type `gpubay` runs: an argument vector of the helper. Knows nothing of the editor.

import { l10n } from "../l10n";

/** As it stands in `tasks.json`. */
export interface Definition {
  type: string;
  /** One of [jobs] in gpubay.toml… */
  job?: unknown;
  /** …or a command and its arguments. */
  command?: unknown;
  gpus?: unknown;
  snapshot?: unknown;
}

/** The helper's arguments, or why there are none, in a sentence. */
export function argvOf(folder: string, definition: Definition): string[] | { wrong: string } {
  const { job, command, gpus, snapshot } = definition;
  const argv = ["-C", folder, "run"];
  if (gpus !== undefined) {
    if (typeof gpus !== "string" && typeof gpus !== "number") {
      return { wrong: l10n.t('“gpus” is a text such as "all" or "0,1", or a number.') };
    }
    argv.push(`--gpus=${String(gpus)}`);
  }
  if (snapshot === true) {
    argv.push("--snapshot");
  }
  if (typeof job === "string" && command === undefined) {
    return [...argv, "--", job];
  }
  const words = Array.isArray(command) ? command : [];
  if (job === undefined && words.length > 0 && words.every((word) => typeof word === "string")) {
    return [...argv, "--", ...words];
  }
  return { wrong: l10n.t("A task of type “gpubay” has either “job”, or “command” as a list of texts.") };
}

export function nameOf({ job, command }: Definition): string {
  return typeof job === "string" ? job : Array.isArray(command) ? command.join(" ") : "gpubay";
}
