import path from "node:path";
import * as vscode from "vscode";
import { programsInside } from "../environmentInside";
import { WorkError, failure, notOnDisk } from "../failure";
import { l10n } from "../l10n";
import type { Session } from "../session";
import { plain } from "../text";

/** A terminal in the dev container of a folder, for commands and for the terminal profile. Throws a `WorkError`. */
export async function shellOptions(
  session: Session,
  folder: vscode.WorkspaceFolder,
  root: boolean,
): Promise<vscode.TerminalOptions> {
  const who = root ? l10n.t("GPU container, root") : l10n.t("GPU container");
  return {
    // The list of terminals is narrow, and a folder's name the same for each of them.
    name: session.folders.length > 1 ? `${who} (${plain(folder.name)})` : who,
    shellPath: await session.helperPath(),
    // A shell that goes with its container, as with «Recreate…», is closed without a word of failure.
    shellArgs: ["-C", folder.uri.fsPath, "shell", "--in-editor", ...(root ? ["--root"] : [])],
    cwd: folder.uri,
    iconPath: new vscode.ThemeIcon(root ? "shield" : "circuit-board"),
    // After a reload it would be another shell than the one that is shown.
    isTransient: true,
  };
}

/** Of a window that is in the container, every shell is one of the container's. */
export function shellInside(folder: vscode.WorkspaceFolder): vscode.TerminalOptions {
  return {
    name: l10n.t("GPU container"),
    cwd: folder.uri,
    iconPath: new vscode.ThemeIcon("circuit-board"),
  };
}

export async function openShell(session: Session, folder: vscode.WorkspaceFolder, root: boolean): Promise<void> {
  try {
    // Whoever has asked the helper knows whether it is inside.
    if (session.inside || (await runs(session, folder))) {
      const options = session.inside ? shellInside(folder) : await shellOptions(session, folder, root);
      vscode.window.createTerminal(options).show();
    }
  } catch (error) {
    void session.showFailure(error, { folder, retry: () => openShell(session, folder, root) });
  }
}

/** Whether the container runs, and if not: whether it was started just now. */
export async function runs(session: Session, folder: vscode.WorkspaceFolder): Promise<boolean> {
  const { container } = await session.request("gpubay/status", { folder: folder.uri.fsPath });
  if (container?.state === "running") {
    return true;
  }
  const start = l10n.t("Start GPU Container");
  const said = l10n.t("The container of {0} does not run.", plain(folder.name));
  if ((await vscode.window.showInformationMessage(said, start)) !== start) {
    return false;
  }
  const title = l10n.t("Starting the container of {0}", folder.name);
  return (await session.runWork(folder, "gpubay/up", {}, title)) !== undefined;
}

/** What the user looks at: a log or a console below it has the cursor of a text editor, too. */
function openFile(): vscode.Uri | undefined {
  const input = vscode.window.tabGroups.activeTabGroup.activeTab?.input;
  return input instanceof vscode.TabInputText ? input.uri : vscode.window.activeTextEditor?.document.uri;
}

/** Runs the file of the active editor, or the one that is named, as a task: its output stays when it has ended. */
export async function runPython(session: Session, about: unknown): Promise<void> {
  const named = about instanceof vscode.Uri ? about : openFile();
  const folder = named && vscode.workspace.getWorkspaceFolder(named);
  try {
    if (!named) {
      throw new WorkError(
        failure("outside_of_folders", l10n.t("No Python file is open"), l10n.t("Open the file that is to run.")),
      );
    }
    if (folder && folder.uri.scheme !== "file") {
      throw new WorkError(notOnDisk(folder));
    }
    if (!folder || named.scheme !== "file") {
      throw new WorkError(
        failure(
          "outside_of_folders",
          l10n.t("{0} is in no folder of this window, so the container does not see it", path.basename(named.path)),
          l10n.t("Move it into the folder, or add its folder to the workspace."),
        ),
      );
    }
    const document = vscode.workspace.textDocuments.find((document) => document.uri.toString() === named.toString());
    if (document?.isDirty && !(await document.save())) {
      return;
    }
    if (session.inside || (await runs(session, folder))) {
      const helper = session.inside ? undefined : await session.helperPath();
      await vscode.tasks.executeTask(pythonTask(helper, folder, named));
    }
  } catch (error) {
    void session.showFailure(error, { folder, retry: () => runPython(session, about) });
  }
}

/** `helper`: the way into the container; none where this window is in there. */
function pythonTask(helper: string | undefined, folder: vscode.WorkspaceFolder, file: vscode.Uri): vscode.Task {
  // Never taken for an option, whatever the file's name.
  const script = `./${path.relative(folder.uri.fsPath, file.fsPath)}`;
  const execution =
    helper === undefined
      ? new vscode.ProcessExecution(path.join(programsInside() ?? "", "python"), [script], { cwd: folder.uri.fsPath })
      : new vscode.ProcessExecution(helper, ["-C", folder.uri.fsPath, "exec", "--in-editor", "--", "python", script], {
          cwd: folder.uri.fsPath,
        });
  const task = new vscode.Task(
    { type: "gpubay.python", file: script },
    folder,
    path.basename(file.fsPath),
    "GPU Bay",
    execution,
  );
  task.presentationOptions = { echo: false, clear: true, focus: true, reveal: vscode.TaskRevealKind.Always };
  return task;
}
