import * as vscode from "vscode";
import { Clicks } from "../clicks";
import { WorkError } from "../failure";
import { l10n } from "../l10n";
import { showLoss } from "../gpus/lost";
import { losses } from "../gpus/lostText";
import type { Session } from "../session";
import { driftText, statusText } from "./statusText";

/** Not for the palette: what the item stands for changes with a click, and the second half of a double click is none. */
const CLICK = "gpubay.status.click";

/** One item: of the active editor's folder, else of the first. */
export function registerStatusBar(context: vscode.ExtensionContext, session: Session): vscode.StatusBarItem {
  const item = vscode.window.createStatusBarItem("gpubay.status", vscode.StatusBarAlignment.Left, 50);
  item.name = "GPU Bay";
  const badge = vscode.window.createStatusBarItem("gpubay.drift", vscode.StatusBarAlignment.Left, 49.9);
  badge.name = l10n.t("GPU Bay: changed configuration");
  badge.text = `$(replace-all) ${l10n.t("Recreate…")}`;
  const clicks = new Clicks();
  const shown = (): vscode.WorkspaceFolder | undefined => {
    const document = vscode.window.activeTextEditor?.document.uri;
    const active = document && vscode.workspace.getWorkspaceFolder(document);
    return session.folders.find((folder) => folder.index === active?.index) ?? session.folders[0];
  };
  const show = () => {
    const folder = shown();
    if (!folder) {
      item.hide();
      badge.hide();
      return;
    }
    const several = (vscode.workspace.workspaceFolders?.length ?? 0) > 1;
    const { text, tooltip, look, command } = statusText(
      session.helper,
      session.state(folder),
      several ? folder.name : undefined,
      session.gpus.report(folder),
    );
    item.text = text;
    item.tooltip = tooltip;
    item.accessibilityInformation = { label: `GPU Bay: ${text.replace(/\$\([^)]*\)/g, "").trim()}` };
    item.backgroundColor = look === "usual" ? undefined : new vscode.ThemeColor(`statusBarItem.${look}Background`);
    item.command = {
      command: CLICK,
      title: "GPU Bay",
      arguments: [command, command.startsWith("gpubay.") ? folder : undefined],
    };
    item.show();
    const drift = session.inside ? undefined : driftText(session.helper, session.state(folder));
    if (drift === undefined) {
      badge.hide();
    } else {
      badge.tooltip = drift;
      badge.command = { command: "gpubay.recreate", title: "GPU Bay", arguments: [folder] };
      badge.show();
    }
  };
  context.subscriptions.push(
    item,
    badge,
    session.onDidChangeState(show),
    session.onDidChangeHelper(show),
    session.gpus.onDidChange(show),
    vscode.window.onDidChangeActiveTextEditor(show),
    vscode.commands.registerCommand(CLICK, (command: string, ...about: unknown[]) =>
      clicks.counts(Date.now()) ? vscode.commands.executeCommand(command, ...about) : undefined,
    ),
    vscode.commands.registerCommand("gpubay.showProblem", (about?: vscode.WorkspaceFolder) => {
      const folder = about ?? shown();
      const { helper } = session;
      // The answer comes as a state as well, which alone is shown.
      const retry = async () => {
        try {
          await session.request("gpubay/status", { folder: folder?.uri.fsPath ?? "" });
        } catch (error) {
          await session.showFailure(error, { folder, retry });
        }
      };
      if (helper.status === "down") {
        return session.showFailure(new WorkError(helper.failure), { folder, retry });
      }
      const state = folder && session.state(folder);
      const [loss] = state?.gpu?.lost ? losses(state) : [];
      if (folder && loss) {
        return showLoss(session, folder, loss);
      }
      const problem = folder && session.state(folder)?.problem;
      if (problem) {
        return session.showFailure(new WorkError(problem), {
          folder,
          // Its approval is asked for by what needs it.
          retry:
            problem.code === "needs_consent" ? () => vscode.commands.executeCommand("gpubay.start", folder) : retry,
        });
      }
      session.log.show();
      return undefined;
    }),
  );
  show();
  return item;
}
