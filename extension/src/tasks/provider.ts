// Tasks of type `gpubay`: the jobs of [jobs], and what a tasks.json adds.

import * as vscode from "vscode";
import { doneOutside } from "../commands/folder";
import { runs, shellInside, shellOptions } from "../commands/terminals";
import { asFailure, notOnDisk, sentence } from "../failure";
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
        if (!folder) {
          return undefined;
        }
        if (session.inside) {
          return new vscode.TerminalProfile(shellInside(folder));
        }
        try {
          if (!(await runs(session, folder))) {
            return undefined;
          }
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
  if (!folder) {
    return undefined;
  }
  // The editor resolves what nobody has asked for: why it cannot be done is said to whoever runs it.
  const refused = (text: string) => new vscode.Task(definition, folder, task.name, "gpubay", saying(text), []);
  if (session.inside) {
    return refused(doneOutside());
  }
  if (folder.uri.scheme !== "file") {
    return refused(sentence(notOnDisk(folder)));
  }
  const argv = argvOf(folder.uri.fsPath, definition);
  if (!Array.isArray(argv)) {
    return refused(argv.wrong);
  }
  try {
    return make(await session.helperPath(), folder, definition, argv);
  } catch (error) {
    return refused(sentence(asFailure(error)));
  }
}

/** Runs nothing, and says why. */
function saying(text: string): vscode.CustomExecution {
  const write = new vscode.EventEmitter<string>();
  const ended = new vscode.EventEmitter<number>();
  const open = () => {
    write.fire(`${text}\r\n`);
    ended.fire(1);
  };
  return new vscode.CustomExecution(() =>
    Promise.resolve({ onDidWrite: write.event, onDidClose: ended.event, open, close: () => undefined }),
  );
}

function make(helper: string, folder: vscode.WorkspaceFolder, definition: Definition, argv: string[]): vscode.Task {
  const execution = new vscode.ProcessExecution(helper, argv, { cwd: folder.uri.fsPath });
  // Its output is a program's, in which no matcher finds problems: the editor is not to ask for one.
  return new vscode.Task(definition, folder, nameOf(definition), "gpubay", execution, []);
}
