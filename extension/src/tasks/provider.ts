// Tasks of type `gpubay`: the jobs of [jobs], and what a tasks.json adds.

import * as vscode from "vscode";
import { refusedInside } from "../commands/folder";
import { shellOptions } from "../commands/terminals";
import { WorkError, failure, notOnDisk } from "../failure";
import type { Session } from "../session";
import { type Definition, argvOf, nameOf } from "./argv";

export function registerTasks(context: vscode.ExtensionContext, session: Session): void {
  context.subscriptions.push(
    vscode.tasks.registerTaskProvider("gpubay", {
      provideTasks: () => provide(session),
      resolveTask: (task) => resolve(session, task),
    }),
    vscode.window.registerTerminalProfileProvider("gpubay.terminal", {
      provideTerminalProfile: async () => {
        const folder = await session.pickFolder();
        if (!folder || refusedInside(session)) {
          return undefined;
        }
        try {
          return new vscode.TerminalProfile(await shellOptions(session, folder, false));
        } catch (error) {
          void session.showFailure(error, { folder });
          return undefined;
        }
      },
    }),
  );
}

async function provide(session: Session): Promise<vscode.Task[]> {
  if (!vscode.workspace.isTrusted || session.inside) {
    return [];
  }
  // Why there is none is told to whoever asks for something of it.
  const helper = await session.helperPath().catch(() => undefined);
  if (helper === undefined) {
    return [];
  }
  return session.folders.flatMap((folder) =>
    (session.state(folder)?.knownJobs ?? []).map((job) => {
      const argv = argvOf(folder.uri.fsPath, { type: "gpubay", job });
      return make(helper, folder, { type: "gpubay", job }, argv as string[]);
    }),
  );
}

/** Of a tasks.json: what it says, checked. */
async function resolve(session: Session, task: vscode.Task): Promise<vscode.Task | undefined> {
  const { scope, definition } = task;
  const folder = typeof scope === "object" ? scope : session.folders[0];
  if (!folder || session.inside) {
    return undefined;
  }
  if (folder.uri.scheme !== "file") {
    void session.showFailure(new WorkError(notOnDisk(folder)));
    return undefined;
  }
  const argv = argvOf(folder.uri.fsPath, definition);
  if (!Array.isArray(argv)) {
    void session.showFailure(new WorkError(failure("bad_task", argv.wrong)), { folder });
    return undefined;
  }
  try {
    return make(await session.helperPath(), folder, definition, argv);
  } catch (error) {
    void session.showFailure(error, { folder });
    return undefined;
  }
}

function make(helper: string, folder: vscode.WorkspaceFolder, definition: Definition, argv: string[]): vscode.Task {
  const execution = new vscode.ProcessExecution(helper, argv, { cwd: folder.uri.fsPath });
  return new vscode.Task(definition, folder, nameOf(definition), "gpubay", execution);
}
