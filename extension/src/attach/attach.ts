// «Attach Editor»: a window in the container, through Dev Containers or a fork's copy of it.

import os from "node:os";
import path from "node:path";
import * as vscode from "vscode";
import { folderFor, refusedInside } from "../commands/folder";
import { openShell, runs } from "../commands/terminals";
import { l10n } from "../l10n";
import type { AttachReport } from "../protocol";
import type { Session } from "../session";
import {
  ATTACH,
  ATTACHERS,
  type Attacher,
  aliasOf,
  attacherFor,
  attachConfig,
  attacherOf,
  configName,
  isFoundByName,
  throughWsl,
} from "./config";

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

/** `undefined`: nobody does here. */
export async function whoAttaches(): Promise<Attacher | "unseen" | undefined> {
  return attacherOf((id) => vscode.extensions.getExtension(id) !== undefined, await vscode.commands.getCommands(true));
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
    const attacher = await whoAttaches();
    if (attacher === undefined) {
      await cannotAttach(session, folder);
      return;
    }
    const ssh = await sshAlias(context);
    if (ssh === undefined) {
      return;
    }
    const target = await session.request("gpubay/attachTarget", { folder: folder.uri.fsPath, ssh });
    if (attacher !== "unseen") {
      await writeConfig(context, session, attacher, target);
    }
    if (isFoundByName(target)) {
      await vscode.commands.executeCommand(ATTACH, target.container.name);
    } else {
      const distribution = vscode.env.remoteName === "wsl" ? process.env["WSL_DISTRO_NAME"] : undefined;
      const window = vscode.Uri.parse(throughWsl(target.uri, distribution), true);
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

/**
 * In a window of Remote-SSH the new one goes the same way, which the editor does not tell to extensions on this side: it is
 * asked once for each machine. `null`: this is no such window; `undefined`: no answer.
 */
async function sshAlias(context: vscode.ExtensionContext): Promise<string | null | undefined> {
  if (vscode.env.remoteName !== "ssh-remote") {
    return null;
  }
  const key = `gpubay.ssh.alias:${os.hostname()}`;
  const known = context.globalState.get<string>(key);
  if (known !== undefined) {
    return known;
  }
  const typed = await vscode.window.showInputBox({
    title: l10n.t("Attach Editor"),
    prompt: l10n.t(
      "The name by which your own machine reaches this one with SSH, as it stands after “SSH:” at the left of the status bar. It is remembered.",
    ),
    value: os.hostname(),
    ignoreFocusOut: true,
    validateInput: (text) => (aliasOf(text) === undefined ? l10n.t("That is no name of a machine.") : undefined),
  });
  const alias = typed === undefined ? undefined : aliasOf(typed);
  if (alias !== undefined) {
    await context.globalState.update(key, alias);
  }
  return alias;
}

/** VSCodium and code-server cannot run Microsoft's extension; elsewhere it may just not be installed. */
async function cannotAttach(session: Session, folder: vscode.WorkspaceFolder): Promise<void> {
  const shell = l10n.t("Open Shell");
  const find = l10n.t("Find Dev Containers");
  const missing = attacherFor(vscode.env.uriScheme, vscode.env.uiKind === vscode.UIKind.Web);
  const said =
    missing === undefined
      ? l10n.t(
          "This editor cannot attach: the extension Dev Containers runs in VS Code and Cursor on a desktop only, which can open this folder, too. This window works on: completion knows the container, and terminals and jobs run in it.",
        )
      : l10n.t(
          "Attaching takes the extension Dev Containers, which is not installed here. Without it this window works on: completion knows the container, and terminals and jobs run in it.",
        );
  const picked = await vscode.window.showInformationMessage(said, ...(missing === undefined ? [shell] : [shell, find]));
  if (picked === shell) {
    await openShell(session, folder, false);
  } else if (picked === find) {
    await vscode.commands.executeCommand("workbench.extensions.search", `@id:${missing ?? ATTACHERS[0]}`);
  }
}
