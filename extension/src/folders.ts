import * as vscode from "vscode";
import { choose } from "./choose";
import { WorkError, failure } from "./failure";
import { l10n } from "./l10n";
import type { Session } from "./session";

/** The folder that a command means: that of the active editor; the only one; else the user says. */
export async function pickFolder(session: Session): Promise<vscode.WorkspaceFolder | undefined> {
  const { folders } = session;
  if (folders.length === 0) {
    await session.showFailure(new WorkError(noFolder()));
    return undefined;
  }
  const document = vscode.window.activeTextEditor?.document.uri;
  const active = document && vscode.workspace.getWorkspaceFolder(document);
  const known =
    folders.find((folder) => folder.index === active?.index) ?? (folders.length === 1 ? folders[0] : undefined);
  if (known) {
    return known;
  }
  const rows = folders.map((folder) => ({ label: folder.name, description: folder.uri.fsPath, value: folder }));
  return choose(rows, { placeHolder: l10n.t("Which folder is meant?") });
}

function noFolder() {
  const some = vscode.workspace.workspaceFolders?.length;
  return some
    ? failure(
        "not_on_disk",
        l10n.t("The folders of this window are on no disk that a container could mount"),
        l10n.t("Clone the repository and open the clone."),
      )
    : failure("no_folder", l10n.t("No folder is open"), l10n.t("Open the folder that is to run in a GPU container."));
}
