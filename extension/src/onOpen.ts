// What happens by itself when a folder is opened: nothing that the user has not chosen, and nothing untrusted.

import * as vscode from "vscode";
import { attach } from "./attach/attach";
import { l10n } from "./l10n";
import { type Choice, choiceOf, firstStep, interrupted } from "./onOpenPlan";
import type { FolderState } from "./protocol";
import type { Session } from "./session";
import { plain } from "./text";

const WORK = "gpubay.work";
const ASKED = "gpubay.onOpen.asked";

export function registerOnOpen(context: vscode.ExtensionContext, session: Session): void {
  /** Folders whose first state has been seen in this window. */
  const opened = new Set<string>();
  const before = context.workspaceState.get<Record<string, string>>(WORK, {});
  context.subscriptions.push(
    session.onDidChangeState((folder) => {
      const state = session.state(folder);
      if (!state || state.phase === "looking" || state.phase === "untrusted") {
        return;
      }
      if (!opened.has(state.folder) && !session.inside) {
        opened.add(state.folder);
        void open(context, session, folder, state, before[state.folder]);
      }
      note(context, state);
    }),
  );
}

/** So that the next window knows what this one did not finish. */
function note(context: vscode.ExtensionContext, state: FolderState): void {
  const known = context.workspaceState.get<Record<string, string>>(WORK, {});
  if (known[state.folder] !== state.work?.method) {
    const others = Object.entries(known).filter(([folder]) => folder !== state.folder);
    const now = state.work ? [[state.folder, state.work.method] as const] : [];
    void context.workspaceState.update(WORK, Object.fromEntries([...others, ...now]));
  }
}

async function open(
  context: vscode.ExtensionContext,
  session: Session,
  folder: vscode.WorkspaceFolder,
  state: FolderState,
  before: string | undefined,
): Promise<void> {
  if (interrupted(before, state)) {
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
  const configured = vscode.workspace.getConfiguration("gpubay", folder).inspect<string>("onOpen");
  const choice = choiceOf(configured) ?? (await ask(context, folder, state));
  const step = firstStep(choice, state);
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

/** Once a workspace, and only where there is something to start. */
async function ask(
  context: vscode.ExtensionContext,
  folder: vscode.WorkspaceFolder,
  state: FolderState,
): Promise<Choice> {
  if (state.phase !== "stopped" || context.workspaceState.get(ASKED) === true) {
    return "nothing";
  }
  const choices: { title: string; choice: Choice; always: boolean }[] = [
    { title: l10n.t("Start"), choice: "start", always: false },
    { title: l10n.t("Always Start Here"), choice: "start", always: true },
    { title: l10n.t("Never Ask"), choice: "nothing", always: true },
  ];
  const said = l10n.t("Start the GPU container of {0}?", plain(folder.name));
  const picked = await vscode.window.showInformationMessage(said, ...choices);
  if (!picked) {
    return "nothing";
  }
  await context.workspaceState.update(ASKED, true);
  if (picked.always) {
    const target = vscode.ConfigurationTarget.Workspace;
    await vscode.workspace.getConfiguration("gpubay").update("onOpen", picked.choice, target);
  }
  return picked.choice;
}
