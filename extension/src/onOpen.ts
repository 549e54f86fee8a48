// What happens by itself when a folder is opened: nothing that the user has not chosen, and nothing untrusted.

import { setTimeout } from "node:timers/promises";
import * as vscode from "vscode";
import { attach, whoAttaches } from "./attach/attach";
import { l10n } from "./l10n";
import { type Choice, type Remembered, answers, firstStep, interrupted, planOf } from "./onOpenPlan";
import type { FolderState } from "./protocol";
import type { Session } from "./session";
import { folderSettingsRead } from "./settings";
import { plain } from "./text";

/** How long a helper that was told to go may take to clean up. */
const CLEANING_MS = 10_000;

export function registerOnOpen(context: vscode.ExtensionContext, session: Session): void {
  /** Folders whose first state has been seen in this window. */
  const opened = new Set<string>();
  context.subscriptions.push(
    session.onDidChangeState((folder) => {
      const state = session.state(folder);
      if (!state || state.phase === "looking" || state.phase === "untrusted" || session.inside) {
        return;
      }
      if (!opened.has(state.folder)) {
        opened.add(state.folder);
        open(context, session, folder).catch((error: unknown) => session.showFailure(error, { folder }));
      }
    }),
  );
}

async function open(context: vscode.ExtensionContext, session: Session, folder: vscode.WorkspaceFolder): Promise<void> {
  if (await wasInterrupted(session, folder)) {
    const again = l10n.t("Start Again");
    const said = l10n.t(
      "The start of {0} was interrupted when its window closed. What was built is kept.",
      plain(folder.name),
    );
    if ((await vscode.window.showWarningMessage(said, again)) === again) {
      await vscode.commands.executeCommand("gpubay.start", folder);
    }
    return;
  }
  const state = session.state(folder);
  if (!state) {
    return;
  }
  const choice = await chosen(context, folder, state);
  // An answer may have taken its time.
  const step = firstStep(choice, session.state(folder) ?? state);
  if (step === "start" || step === "startAndAttach") {
    const title = l10n.t("Starting the container of {0}", folder.name);
    const report = await session.runWork(folder, "gpubay/up", { gpus: null }, title);
    if (report && step === "startAndAttach") {
      await attach(context, session, folder);
    }
  } else if (step === "attach") {
    await attach(context, session, folder);
  }
}

/** Whether the window before was closed amid a start of which nothing came; that one may still be on its way out. */
async function wasInterrupted(session: Session, folder: vscode.WorkspaceFolder): Promise<boolean> {
  const deadline = Date.now() + CLEANING_MS;
  let before: string | undefined;
  for (;;) {
    const { method, unsure } = session.unfinished.take(folder.uri.fsPath);
    before ??= method;
    const answer = interrupted(before, session.state(folder));
    const settled = before === undefined ? !unsure : answer !== "open";
    if (settled || Date.now() > deadline) {
      return answer === "yes";
    }
    await setTimeout(100);
  }
}

/** What the user wants of this folder; asked at most once, an answer or not. */
async function chosen(
  context: vscode.ExtensionContext,
  folder: vscode.WorkspaceFolder,
  state: FolderState,
): Promise<Choice> {
  await folderSettingsRead(folder, ["gpubay.onOpen"]);
  const key = `gpubay.onOpen:${state.folder}`;
  const remembered = context.workspaceState.get<Remembered>(key, {});
  const configured = vscode.workspace.getConfiguration("gpubay", folder).inspect<string>("onOpen");
  const plan = planOf(configured, remembered, state);
  if (!("ask" in plan)) {
    return plan.choice;
  }
  if (plan.ask === "settings") {
    const offered = { ...remembered, offered: plan.choice, agreed: false };
    await context.workspaceState.update(key, offered);
    const agreed = await allowed(folder, plan.choice);
    await context.workspaceState.update(key, { ...offered, agreed });
    return agreed ? plan.choice : "nothing";
  }
  await context.workspaceState.update(key, { ...remembered, asked: true });
  return ask(context, folder, key);
}

/** The settings that came with a folder want something by themselves. */
async function allowed(folder: vscode.WorkspaceFolder, choice: Choice): Promise<boolean> {
  const name = plain(folder.name);
  const yes = l10n.t("Yes");
  const said =
    choice === "attach"
      ? l10n.t("The settings of {0} want an editor to be attached whenever it is opened. Allow it?", name)
      : choice === "start"
        ? l10n.t("The settings of {0} want its GPU container to be started whenever it is opened. Allow it?", name)
        : l10n.t(
            "The settings of {0} want its GPU container to be started and an editor to be attached whenever it is opened. Allow it?",
            name,
          );
  return (await vscode.window.showInformationMessage(said, yes, l10n.t("No"))) === yes;
}

/** Nobody has chosen anything. */
async function ask(context: vscode.ExtensionContext, folder: vscode.WorkspaceFolder, key: string): Promise<Choice> {
  const choices = answers((await whoAttaches()) !== undefined);
  const said = l10n.t("Start the GPU container of {0}?", plain(folder.name));
  const picked = await vscode.window.showInformationMessage(said, ...choices);
  if (!picked) {
    return "nothing";
  }
  if (picked.always) {
    const several = (vscode.workspace.workspaceFolders?.length ?? 0) > 1;
    const target = several ? vscode.ConfigurationTarget.WorkspaceFolder : vscode.ConfigurationTarget.Workspace;
    await context.workspaceState.update(key, { asked: true, offered: picked.choice, agreed: true });
    await vscode.workspace.getConfiguration("gpubay", folder).update("onOpen", picked.choice, target);
  }
  return picked.choice;
}
