// Which program is the helper, and whether it can run. Knows nothing of the editor.

import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import path from "node:path";
import { WorkError, failure } from "../failure";
import { l10n } from "../l10n";

/** A setting as `inspect` shows it. */
export interface Inspected {
  defaultValue?: unknown;
  globalValue?: unknown;
  workspaceValue?: unknown;
  workspaceFolderValue?: unknown;
}

/**
 * The program that the user's own settings name. Those of a workspace never count, whatever the manifest says: they would
 * let a folder that is merely opened choose what is run.
 */
export function ownPath(setting: Inspected | undefined): string | undefined {
  const value = setting?.globalValue;
  return typeof value === "string" && value.trim() !== "" ? value.trim() : undefined;
}

/** The helper's path, or a `WorkError` that says what is wrong with it. */
export async function locate(setting: Inspected | undefined, bundled: string): Promise<string> {
  const own = ownPath(setting);
  const program = own ?? bundled;
  const next = own
    ? l10n.t("Correct the setting gpubay.helper.path, or clear it to use the one that came with the extension.")
    : l10n.t("Install the extension again; it has to be the one for this platform (Linux on x86-64).");
  const missing = own ? "helper_setting" : "helper_missing";
  if (!path.isAbsolute(program)) {
    throw new WorkError(failure(missing, l10n.t("{0} is no absolute path", program), next));
  }
  const found = await stat(program).catch(() => undefined);
  if (!found?.isFile()) {
    throw new WorkError(failure(missing, l10n.t("The helper {0} is not there", program), next));
  }
  try {
    await access(program, constants.X_OK);
  } catch {
    throw new WorkError(failure("helper_not_executable", l10n.t("The helper {0} may not be executed", program), next));
  }
  return program;
}
