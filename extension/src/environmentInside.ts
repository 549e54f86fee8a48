// In a window that is attached to the container: terminals, tasks and debuggers that start next get what the agent gives to
// programs that are started from outside, the GPUs that are selected and the virtual environment.

import path from "node:path";
import type * as vscode from "vscode";
import { visibleDevices } from "./gpus/figures";
import { l10n } from "./l10n";
import type { Session } from "./session";

const VISIBLE = "CUDA_VISIBLE_DEVICES";

export function registerEnvironmentInside(context: vscode.ExtensionContext, session: Session): void {
  const collection = context.environmentVariableCollection;
  // What was so when the window was open last is no news of now.
  collection.persistent = false;
  context.subscriptions.push(
    session.onDidChangeState((folder) => {
      const state = session.state(folder);
      // Outside it is the agent that sets it.
      if (!session.inside || !state) {
        return;
      }
      collection.description = l10n.t("The GPUs that are selected for this container, and its Python environment");
      const visible = visibleDevices(state.gpu);
      if (visible === undefined) {
        collection.delete(VISIBLE);
      } else if (collection.get(VISIBLE)?.value !== visible) {
        collection.replace(VISIBLE, visible);
      }
      const programs = programsInside();
      if (programs !== undefined && !collection.get("PATH") && !onPath(programs)) {
        collection.prepend("PATH", programs + path.delimiter);
      }
    }),
  );
}

/** Where the programs of the virtual environment are, as the container's own environment names it. */
export function programsInside(): string | undefined {
  const { VIRTUAL_ENV } = process.env;
  return VIRTUAL_ENV ? path.join(VIRTUAL_ENV, "bin") : undefined;
}

/** An editor's server takes its environment from a login shell, and Debian's profile sets `PATH` anew. */
function onPath(folder: string): boolean {
  return (process.env.PATH ?? "").split(path.delimiter).includes(folder);
}
