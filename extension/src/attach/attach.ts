// «Attach Editor»: a window in the container, through Dev Containers or a fork's copy of it.

import path from "node:path";
import * as vscode from "vscode";
import { folderFor, refusedInside } from "../commands/folder";
import { openShell, runs } from "../commands/terminals";
import { l10n } from "../l10n";
import type { AttachReport } from "../protocol";
import type { Session } from "../session";
import { ATTACHERS, type Attacher, attachConfig, configName, isFoundByName } from "./config";

export function registerAttach(context: vscode.ExtensionContext, session: Session): void {
  context.subscriptions.push(
    vscode.commands.registerCommand("gpubay.attach", async (about?: unknown) => {
      const folder = await folderFor(session, about);
      if (folder && !refusedInside(session)) {
        await attach(context, session, folder);
      }
    }),
  );
}

/** Offers to start what does not run; says what can be done where this editor cannot attach. */
export async function attach(
  context: vscode.ExtensionContext,
  session: Session,
  folder: vscode.WorkspaceFolder,
): Promise<void> {
  try {
    if (session.inside || !(await runs(session, folder))) {
      return;
    }
    const attacher = ATTACHERS.find((id) => vscode.extensions.getExtension(id));
    if (attacher === undefined) {
      await cannotAttach(session, folder);
      return;
    }
    const target = await session.request("gpubay/attachTarget", { folder: folder.uri.fsPath, ssh: sshAlias() });
    await writeConfig(context, session, attacher, target);
    if (isFoundByName(target)) {
      await vscode.commands.executeCommand("remote-containers.attachToRunningContainer", target.container.name);
    } else {
      const window = vscode.Uri.parse(target.uri, true);
      await vscode.commands.executeCommand("vscode.openFolder", window, { forceNewWindow: true });
    }
  } catch (error) {
    void session.showFailure(error, { folder, retry: () => attach(context, session, folder) });
  }
}

/**
 * Extensions are installed on the first attach only, so the file comes before it. In a remote window it lies on the wrong
 * side and harms nobody: the container's own label says the same to whoever attaches.
 */
async function writeConfig(
  context: vscode.ExtensionContext,
  session: Session,
  attacher: Attacher,
  target: AttachReport,
): Promise<void> {
  const storage = path.dirname(context.globalStorageUri.fsPath);
  const file = vscode.Uri.file(path.join(storage, attacher, "nameConfigs", configName(target.container.name)));
  const existing = await vscode.workspace.fs.readFile(file).then(
    (bytes) => Buffer.from(bytes).toString("utf8"),
    () => undefined,
  );
  const config = attachConfig(existing, target);
  if (config === undefined) {
    session.log.info(`${file.fsPath} is your own, and stays as it is`);
    return;
  }
  const text = `${JSON.stringify(config, null, 2)}\n`;
  if (text !== existing) {
    await vscode.workspace.fs.writeFile(file, Buffer.from(text, "utf8"));
  }
}

/** In a window of Remote-SSH the new one goes the same way. */
function sshAlias(): string | null {
  if (vscode.env.remoteName !== "ssh-remote") {
    return null;
  }
  const authority = vscode.workspace.workspaceFolders?.[0]?.uri.authority ?? "";
  return authority.startsWith("ssh-remote+") ? decodeURIComponent(authority.slice("ssh-remote+".length)) : null;
}

/** VSCodium and code-server cannot run Microsoft's extension; elsewhere it may just not be installed. */
async function cannotAttach(session: Session, folder: vscode.WorkspaceFolder): Promise<void> {
  const shell = l10n.t("Open Shell");
  const find = l10n.t("Find Dev Containers");
  const said = l10n.t(
    "Attaching takes the extension Dev Containers, which is not installed here. Without it this window works on: completion knows the container, and terminals and jobs run in it.",
  );
  const picked = await vscode.window.showInformationMessage(said, shell, find);
  if (picked === shell) {
    await openShell(session, folder, false);
  } else if (picked === find) {
    await vscode.commands.executeCommand("workbench.extensions.search", `@id:${ATTACHERS[0]}`);
  }
}
