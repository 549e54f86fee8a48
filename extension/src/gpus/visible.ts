// In a window that is attached to the container: terminals, tasks and debuggers that start next get the GPUs that are selected.

import type * as vscode from "vscode";
import { l10n } from "../l10n";
import type { Session } from "../session";
import { visibleDevices } from "./figures";

const NAME = "CUDA_VISIBLE_DEVICES";

export function registerVisible(context: vscode.ExtensionContext, session: Session): void {
  const collection = context.environmentVariableCollection;
  // What was selected when the window was open last is no news of now.
  collection.persistent = false;
  context.subscriptions.push(
    session.onDidChangeState((folder) => {
      const state = session.state(folder);
      // Outside it is the agent that sets it.
      if (!session.inside || !state) {
        return;
      }
      const visible = visibleDevices(state.gpu);
      if (visible === undefined) {
        collection.delete(NAME);
      } else if (collection.get(NAME)?.value !== visible) {
        collection.description = l10n.t("The GPUs that are selected for this container");
        collection.replace(NAME, visible);
      }
    }),
  );
}
