import * as vscode from "vscode";
import { l10n } from "../l10n";
import type { Session } from "../session";
import { gpus } from "../status/statusText";
import { plain } from "../text";
import { agreed, once } from "../work/questions";
import { byName, recreateQuestion } from "../work/questionText";

/** What the new one is to have, and why it is needed, where that is known better than by the state. */
export interface Wanted {
  gpus: string;
  drift: string[];
}

/** Lists what changes and what would be lost, and makes the container anew if that is agreed to. */
export async function recreate(session: Session, folder: vscode.WorkspaceFolder, wanted?: Wanted): Promise<void> {
  // What is agreed to is about this one. Another program may make it anew while the question is read.
  const seen = session.state(folder)?.container?.id ?? "";
  try {
    const yes = await once(`recreate ${folder.uri.fsPath}`, async () => {
      const { sentences } = await session.request("gpubay/stakes", { folder: folder.uri.fsPath, jobs: false });
      const lost = byName(sentences, session.state(folder));
      const drift = wanted?.drift ?? session.state(folder)?.drift.map(({ text }) => text) ?? [];
      const gpu = session.state(folder)?.gpu ?? null;
      const kept = wanted === undefined && gpu !== null && gpu.chosen !== null ? gpus(gpu) : undefined;
      return agreed(recreateQuestion(folder.name, drift, lost, kept));
    });
    if (!yes) {
      return;
    }
  } catch (error) {
    void session.showFailure(error, { folder, retry: () => recreate(session, folder, wanted) });
    return;
  }
  const title = l10n.t("Recreating the container of {0}", folder.name);
  const params = { gpus: wanted?.gpus ?? null, seen, consent: true };
  const report = await session.runWork(folder, "gpubay/up", params, title);
  if (report && !report.container.created && report.container.id !== seen) {
    void vscode.window.showInformationMessage(
      l10n.t("The container of {0} was made anew meanwhile, and is left as it is.", plain(folder.name)),
    );
  }
}
