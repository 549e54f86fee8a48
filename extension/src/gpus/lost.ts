// A container that runs has lost its GPUs: told once, with what mends it.

import * as vscode from "vscode";
import { l10n } from "../l10n";
import type { Session } from "../session";
import { plain } from "../text";
import { type Loss, losses, lossLines, lossText } from "./lostText";

export function registerLost(context: vscode.ExtensionContext, session: Session): void {
  /** By folder, what was told of the containers that are lost now. */
  const told = new Map<string, Set<string>>();
  context.subscriptions.push(
    session.onDidChangeState((folder) => {
      const state = session.state(folder);
      if (!state) {
        return;
      }
      const found = losses(state);
      const before = told.get(state.folder) ?? new Set<string>();
      told.set(state.folder, new Set(found.map(({ key }) => key)));
      for (const loss of found.filter(({ key }) => !before.has(key))) {
        void showLoss(session, folder, loss);
      }
    }),
  );
}

export async function showLoss(session: Session, folder: vscode.WorkspaceFolder, loss: Loss): Promise<void> {
  session.log.warn(lossLines(loss.lost));
  const recreate = l10n.t("Recreate…");
  const doctor = l10n.t("Doctor");
  const log = l10n.t("Show Log");
  // From within, nothing is made anew; and a job ends by itself.
  const buttons = session.inside ? [log] : loss.job === undefined ? [recreate, doctor] : [doctor];
  const picked = await vscode.window.showWarningMessage(plain(lossText(folder.name, loss)), ...buttons);
  if (picked === log) {
    session.log.show();
  } else if (picked !== undefined) {
    await vscode.commands.executeCommand(picked === recreate ? "gpubay.recreate" : "gpubay.doctor", folder);
  }
}
