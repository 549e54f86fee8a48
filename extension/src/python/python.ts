// Python tools of this window are pointed at the container's Python, with consent, and told when its packages change.

import { access, constants } from "node:fs/promises";
import path from "node:path";
import * as vscode from "vscode";
import { l10n } from "../l10n";
import type { PackagesParams } from "../protocol";
import type { Session } from "../session";
import { plain } from "../text";
import { type Change, LOOK_AGAIN, changes, modeOf } from "./plan";

/** Folder by folder: what the tools were last told to look at. */
type Seen = Map<string, string>;

export function registerPython(context: vscode.ExtensionContext, session: Session): void {
  const seen: Seen = new Map();
  context.subscriptions.push(
    session.onDidChangePackages((packages) => {
      const folder = session.folders.find((known) => known.uri.fsPath === packages.folder);
      if (folder && !session.inside) {
        packagesChanged(context, session, folder, packages, seen).catch((error: unknown) => {
          session.log.warn(`Python tools were not told of the container's packages: ${String(error)}`);
        });
      }
    }),
  );
}

async function packagesChanged(
  context: vscode.ExtensionContext,
  session: Session,
  folder: vscode.WorkspaceFolder,
  { hostEnv, paths, installed }: PackagesParams,
  seen: Seen,
): Promise<void> {
  const now = JSON.stringify([hostEnv, paths, installed]);
  const before = seen.get(folder.uri.fsPath);
  seen.set(folder.uri.fsPath, now);
  if (!hostEnv || before === now) {
    return;
  }
  // What was there when the window opened is what the tools began with. Before the question, which may stand for long.
  if (before !== undefined) {
    await lookAgain(session);
  }
  if (await configure(context, session, folder, hostEnv.path)) {
    await lookAgain(session);
  }
}

/** Whether a setting was written. */
async function configure(
  context: vscode.ExtensionContext,
  session: Session,
  folder: vscode.WorkspaceFolder,
  env: string,
): Promise<boolean> {
  const mode = modeOf(vscode.workspace.getConfiguration("gpubay", folder).inspect("python.configure"));
  const name = path.relative(folder.uri.fsPath, env);
  if (mode === "never" || name.startsWith("..") || path.isAbsolute(name)) {
    return false;
  }
  const there = new Set<string>();
  const has = async (program: string) => {
    try {
      await access(path.join(env, "bin", program), constants.X_OK);
      there.add(program);
    } catch {
      // Not in the container.
    }
  };
  await Promise.all(["python", "autopep8", "black", "flake8", "isort", "mypy", "pylint", "ruff"].map(has));
  const configuration = vscode.workspace.getConfiguration(undefined, folder);
  const wanted = changes(
    name,
    (key) => configuration.inspect(key),
    (program) => there.has(program),
  );
  if (wanted.length === 0 || (mode !== "always" && !(await agreed(context, folder, wanted)))) {
    return false;
  }
  const several = (vscode.workspace.workspaceFolders?.length ?? 0) > 1;
  const target = several ? vscode.ConfigurationTarget.WorkspaceFolder : vscode.ConfigurationTarget.Workspace;
  for (const { key, value } of wanted) {
    await configuration.update(key, value, target);
    session.log.info(`${key} = ${JSON.stringify(value)} (${plain(folder.name)})`);
  }
  return true;
}

/** Asked once for what is new; a no is remembered for the folder. */
async function agreed(
  context: vscode.ExtensionContext,
  folder: vscode.WorkspaceFolder,
  wanted: Change[],
): Promise<boolean> {
  const key = `gpubay.python.asked:${folder.uri.fsPath}`;
  const asked = context.workspaceState.get<string[]>(key, []);
  if (wanted.every((change) => asked.includes(change.key))) {
    return false;
  }
  const yes = l10n.t("Yes");
  const always = l10n.t("Always");
  const never = l10n.t("Never");
  const tools = [...new Set(wanted.map(({ tool }) => tool))].join(", ");
  const said = l10n.t(
    "Let {0} use the container's Python in {1}? This is written into the settings of the workspace; nothing that you have set is changed.",
    tools,
    plain(folder.name),
  );
  const picked = await vscode.window.showInformationMessage(said, yes, always, never);
  if (picked === undefined) {
    return false;
  }
  await context.workspaceState.update(key, [...new Set([...asked, ...wanted.map((change) => change.key)])]);
  if (picked === always || picked === never) {
    const mode = picked === always ? "always" : "never";
    await vscode.workspace
      .getConfiguration("gpubay")
      .update("python.configure", mode, vscode.ConfigurationTarget.Global);
  }
  return picked !== never;
}

/** At once, instead of after some seconds by their own watchers. */
async function lookAgain(session: Session): Promise<void> {
  const there = new Set(await vscode.commands.getCommands(true));
  for (const command of LOOK_AGAIN.filter((known) => there.has(known))) {
    try {
      await vscode.commands.executeCommand(command);
    } catch (error) {
      session.log.warn(`${command}: ${String(error)}`);
    }
  }
  const python = vscode.extensions.getExtension<PythonApi>("ms-python.python");
  if (python?.isActive) {
    await python.exports.environments?.refreshEnvironments({ forceRefresh: true });
  }
}

/** The little that is used of it. */
interface PythonApi {
  environments?: { refreshEnvironments(options: { forceRefresh: boolean }): Promise<void> };
}
