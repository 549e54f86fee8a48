import * as vscode from "vscode";
import { choose } from "../choose";
import { l10n } from "../l10n";
import type { Session } from "../session";
import { plain } from "../text";

/** Starts one of `[jobs]`; it goes on by itself, also when the window closes. */
export async function runJob(session: Session, folder: vscode.WorkspaceFolder): Promise<void> {
  let known: string[];
  try {
    known = (await session.request("gpubay/status", { folder: folder.uri.fsPath })).known_jobs;
  } catch (error) {
    void session.showFailure(error, { folder, retry: () => runJob(session, folder) });
    return;
  }
  if (known.length === 0) {
    const open = l10n.t("Open gpubay.toml");
    const said = l10n.t("gpubay.toml names no jobs. A table [jobs.train] with a command makes one.");
    if ((await vscode.window.showInformationMessage(said, open)) === open) {
      await openConfiguration(folder);
    }
    return;
  }
  const rows = known.map((job) => ({ label: job, value: job }));
  const job = await choose(rows, { placeHolder: l10n.t("Which job is to be started?") });
  if (job === undefined) {
    return;
  }
  const params = { job, argv: [], snapshot: false, share: false };
  const started = await session.runWork(folder, "gpubay/run", params, l10n.t("Starting job {0}", job));
  if (!started) {
    return;
  }
  const follow = l10n.t("Show Output");
  const said = l10n.t("Job {0} runs. It goes on when this window closes.", plain(started.name));
  if ((await vscode.window.showInformationMessage(said, follow)) === follow) {
    await followJob(session, folder, started.name);
  }
}

/** A terminal with what a job prints, until it ends. */
export async function followJob(session: Session, folder: vscode.WorkspaceFolder, job: string): Promise<void> {
  try {
    const task = new vscode.Task(
      { type: "gpubay.logs", job },
      folder,
      plain(l10n.t("{0}: output", job)),
      "GPU Bay",
      new vscode.ProcessExecution(await session.helperPath(), ["-C", folder.uri.fsPath, "logs", "-f", "--", job], {
        cwd: folder.uri.fsPath,
      }),
    );
    task.isBackground = true;
    // The helper's command line tells this user nothing.
    task.presentationOptions = { echo: false };
    await vscode.tasks.executeTask(task);
  } catch (error) {
    void session.showFailure(error, { folder, retry: () => followJob(session, folder, job) });
  }
}

/** The folder's gpubay.toml; an unsaved one where there is none. */
async function openConfiguration(folder: vscode.WorkspaceFolder): Promise<void> {
  const file = vscode.Uri.joinPath(folder.uri, "gpubay.toml");
  const there = await vscode.workspace.fs.stat(file).then(
    () => true,
    () => false,
  );
  await vscode.window.showTextDocument(there ? file : file.with({ scheme: "untitled" }));
}
