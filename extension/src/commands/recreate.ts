import type * as vscode from "vscode";
import { l10n } from "../l10n";
import type { Session } from "../session";
import { agreed } from "../work/questions";
import { recreateQuestion } from "../work/questionText";

/** Lists what changes and what would be lost, and makes the container anew if that is agreed to. */
export async function recreate(session: Session, folder: vscode.WorkspaceFolder): Promise<void> {
  let lost: string[];
  try {
    lost = (await session.request("gpubay/stakes", { folder: folder.uri.fsPath, jobs: false })).sentences;
  } catch (error) {
    void session.showFailure(error, { folder, retry: () => recreate(session, folder) });
    return;
  }
  const drift = session.state(folder)?.drift.map(({ text }) => text) ?? [];
  if (await agreed(recreateQuestion(folder.name, drift, lost))) {
    await session.runWork(
      folder,
      "gpubay/up",
      { consent: true },
      l10n.t("Recreating the container of {0}", folder.name),
    );
  }
}
