// Which folder a command is about, and what is not done from inside.

import * as vscode from "vscode";
import { WorkError, notOnDisk } from "../failure";
import { l10n } from "../l10n";
import type { Session } from "../session";

/** A command's argument may be a folder, something with one (a row of a view), or a file's address; else it is picked. */
export async function folderFor(session: Session, about: unknown): Promise<vscode.WorkspaceFolder | undefined> {
  const uri = addressOf(about);
  const named = uri && vscode.workspace.getWorkspaceFolder(uri);
  if (named && named.uri.scheme !== "file") {
    await session.showFailure(new WorkError(notOnDisk(named)));
    return undefined;
  }
  const known = named && session.folders.find((folder) => folder.index === named.index);
  return known ?? (await session.pickFolder());
}

function addressOf(about: unknown): vscode.Uri | undefined {
  if (about instanceof vscode.Uri) {
    return about;
  }
  if (typeof about !== "object" || about === null) {
    return undefined;
  }
  const { uri, folder } = about as { uri?: unknown; folder?: unknown };
  return uri instanceof vscode.Uri ? uri : addressOf(folder);
}

/** Short: a message without a button is cut after one line. */
export function doneOutside(): string {
  return l10n.t("Do that in the window of the folder outside.");
}

/** A window that is attached to the container starts, stops and attaches nothing: it would saw at its own branch. */
export function refusedInside(session: Session): boolean {
  if (session.inside) {
    void vscode.window.showInformationMessage(doneOutside());
  }
  return session.inside;
}
