// A job that fails is told, wherever its user looks meanwhile.

import * as vscode from "vscode";
import { l10n } from "../l10n";
import type { Row } from "../protocol";
import type { Session } from "../session";
import { plain } from "../text";
import { type Seen, failedSince } from "./jobNewsText";
import { followJob } from "./jobs";

export function registerJobNews(context: vscode.ExtensionContext, session: Session): void {
  const seen = new Map<string, Seen>();
  context.subscriptions.push(
    session.onDidChangeState((folder) => {
      const state = session.state(folder);
      // Without a helper nothing is known: what it tells next is compared with what it told last.
      if (!state || state.phase === "looking") {
        return;
      }
      const before = seen.get(state.folder);
      seen.set(state.folder, state);
      for (const job of before ? failedSince(before, state) : []) {
        void tell(session, folder, job);
      }
    }),
  );
}

async function tell(session: Session, folder: vscode.WorkspaceFolder, job: Row): Promise<void> {
  const show = l10n.t("Show Output");
  const name = job.job ?? job.name;
  const said = l10n.t("Job {0} has failed: it ended with exit code {1}.", plain(name), job.exit_code ?? "?");
  if ((await vscode.window.showErrorMessage(said, show)) === show) {
    await followJob(session, folder, name);
  }
}
