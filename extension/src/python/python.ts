// Python tools of this window are pointed at the container's Python, with consent, and told when its packages change.

import { access, constants } from "node:fs/promises";
import path from "node:path";
import * as vscode from "vscode";
import { l10n } from "../l10n";
import type { PackagesParams } from "../protocol";
import type { Session } from "../session";
import { folderSettingsRead } from "../settings";
import { plain } from "../text";
import { hostPython } from "./hostPython";
import {
  type Change,
  type Inspected,
  LOOK_AGAIN,
  PROGRAMS,
  type Remembered,
  SETTINGS,
  changes,
  refusal,
  stepOf,
} from "./plan";

/** What this window knows of a folder. */
interface Known {
  /** What the tools were last told to look at. */
  packages?: string;
  /** Of the host env; none: there is none, or it is not told yet. */
  env?: string;
  /** A question stands. */
  asking?: boolean;
  /** Settings whose question was closed: not asked again before the window is opened again. */
  closed: string[];
}

export function registerPython(context: vscode.ExtensionContext, session: Session): void {
  const all = new Map<string, Known>();
  const about = ({ uri }: vscode.WorkspaceFolder): Known => {
    const known = all.get(uri.fsPath) ?? { closed: [] };
    all.set(uri.fsPath, known);
    return known;
  };
  const logged = (work: Promise<void>) =>
    work.catch((error: unknown) => {
      session.log.warn(`Python tools were not told of the container's packages: ${String(error)}`);
    });
  context.subscriptions.push(
    session.onDidChangePackages((packages) => {
      const folder = session.folders.find((known) => known.uri.fsPath === packages.folder);
      if (folder && !session.inside) {
        void logged(packagesChanged(context, session, folder, packages, about(folder)));
      }
    }),
    vscode.workspace.onDidChangeConfiguration((event) => {
      // Of any folder: asked for one, it tells nothing where the folder's own settings now say what counted before.
      if (event.affectsConfiguration("gpubay.python.configure")) {
        for (const folder of session.folders) {
          void logged(pointed(context, session, folder, about(folder)));
        }
      }
    }),
  );
}

async function packagesChanged(
  context: vscode.ExtensionContext,
  session: Session,
  folder: vscode.WorkspaceFolder,
  { hostEnv, paths, installed }: PackagesParams,
  known: Known,
): Promise<void> {
  const now = JSON.stringify([hostEnv, paths, installed]);
  const before = known.packages;
  known.packages = now;
  known.env = hostEnv?.path;
  if (!hostEnv || before === now) {
    return;
  }
  // What was there when the window opened is what the tools began with. Before the question, which may stand for long.
  if (before !== undefined) {
    await lookAgain(session);
  }
  await pointed(context, session, folder, known);
}

async function pointed(
  context: vscode.ExtensionContext,
  session: Session,
  folder: vscode.WorkspaceFolder,
  known: Known,
): Promise<void> {
  if (await configure(context, session, folder, known)) {
    await lookAgain(session);
  }
}

/** Whether a setting was written. */
async function configure(
  context: vscode.ExtensionContext,
  session: Session,
  folder: vscode.WorkspaceFolder,
  known: Known,
): Promise<boolean> {
  await folderSettingsRead(folder, ["gpubay.python.configure", ...SETTINGS]);
  const wanted = await missing(folder, known.env);
  // Asked anew each time: an answer elsewhere may have changed it.
  const said = () => vscode.workspace.getConfiguration("gpubay", folder).inspect("python.configure");
  const step = stepOf(said(), remembered(context, folder), wanted);
  if (step === "write") {
    await write(session, folder, wanted);
    return true;
  }
  const answered = wanted.every(({ key }) => known.closed.includes(key));
  if (step === "nothing" || known.asking || answered) {
    return false;
  }
  known.asking = true;
  const agreed = await ask(context, folder, wanted, said, known).finally(() => (known.asking = false));
  if (agreed) {
    // What has been set while the question stood is somebody's by now.
    const still = new Set((await missing(folder, known.env)).map(({ key }) => key));
    await write(
      session,
      folder,
      wanted.filter(({ key }) => still.has(key)),
    );
  }
  // What came while the question stood is asked about next.
  return (await configure(context, session, folder, known)) || agreed;
}

/** What would point the tools of a folder at its host env. */
async function missing(folder: vscode.WorkspaceFolder, env: string | undefined): Promise<Change[]> {
  const name = env === undefined ? ".." : path.relative(folder.uri.fsPath, env);
  if (env === undefined || name.startsWith("..") || path.isAbsolute(name)) {
    return [];
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
  await Promise.all(PROGRAMS.map(has));
  const configuration = vscode.workspace.getConfiguration(undefined, folder);
  const folders = (vscode.workspace.workspaceFolders ?? []).map(({ uri }) => uri.fsPath);
  return changes(
    name,
    (key) => configuration.inspect(key),
    (program) => there.has(program),
    () => hostPython(folders),
  );
}

async function write(session: Session, folder: vscode.WorkspaceFolder, wanted: Change[]): Promise<void> {
  const several = (vscode.workspace.workspaceFolders?.length ?? 0) > 1;
  const target = several ? vscode.ConfigurationTarget.WorkspaceFolder : vscode.ConfigurationTarget.Workspace;
  for (const { key, value } of wanted) {
    await vscode.workspace.getConfiguration(undefined, folder).update(key, value, target);
    session.log.info(`${key} = ${JSON.stringify(value)} (${plain(folder.name)})`);
  }
}

function keyOf(folder: vscode.WorkspaceFolder): string {
  return `gpubay.python:${folder.uri.fsPath}`;
}

function remembered(context: vscode.ExtensionContext, folder: vscode.WorkspaceFolder): Remembered {
  return context.workspaceState.get<Remembered>(keyOf(folder), {});
}

/** Whether the user agrees. Each answer is remembered where it belongs. */
async function ask(
  context: vscode.ExtensionContext,
  folder: vscode.WorkspaceFolder,
  wanted: Change[],
  said: () => Inspected | undefined,
  known: Known,
): Promise<boolean> {
  const yes = l10n.t("Yes");
  const notHere = l10n.t("Not Here");
  const always = l10n.t("Always");
  const never = l10n.t("Never");
  const tools = [...new Set(wanted.map(({ tool }) => tool))].join(", ");
  const question = l10n.t(
    "Let {0} use the container's Python in {1}? This is written into the settings of the workspace; nothing that you have set is changed.",
    tools,
    plain(folder.name),
  );
  const picked = await vscode.window.showInformationMessage(question, yes, notHere, always, never);
  const keys = wanted.map(({ key }) => key);
  if (picked === undefined) {
    known.closed.push(...keys);
    return false;
  }
  const { asked = [] } = remembered(context, folder);
  const now: Remembered =
    picked === notHere ? { asked, refused: refusal(said()) } : { asked: [...new Set([...asked, ...keys])] };
  await context.workspaceState.update(keyOf(folder), now);
  if (picked === always || picked === never) {
    const mode = picked === always ? "always" : "never";
    await vscode.workspace
      .getConfiguration("gpubay")
      .update("python.configure", mode, vscode.ConfigurationTarget.Global);
  }
  return picked === yes || picked === always;
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
