// GPUs as they are now, while somebody looks.

import * as vscode from "vscode";
import { Pace } from "../pace";
import type { GpusParams, GpusReport } from "../protocol";
import type { Session } from "../session";
import { watched } from "./watched";

export class GpuWatch implements vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<string>();
  /** With the folder whose GPUs are different now. */
  readonly onDidChange = this.changed.event;

  private readonly pace = new Pace<string>((folder) => {
    this.changed.fire(folder);
  });
  private readonly reports = new Map<string, GpusReport>();
  /** How many show them, by folder. */
  private readonly looks = new Map<string, number>();
  /** What the helper has been asked to tell of. */
  private asked = new Set<string>();
  private readonly subscriptions: vscode.Disposable;

  constructor(private readonly session: Session) {
    const update = () => {
      this.update();
    };
    this.subscriptions = vscode.Disposable.from(
      this.changed,
      this.pace,
      session.onDidChangeState(update),
      session.onDidChangeHelper(() => {
        if (session.helper.status !== "running") {
          this.asked.clear();
          this.reports.clear();
        }
        update();
      }),
      vscode.window.onDidChangeWindowState(update),
    );
  }

  dispose(): void {
    this.subscriptions.dispose();
  }

  /** As told last. */
  report(folder: vscode.WorkspaceFolder): GpusReport | undefined {
    return this.reports.get(folder.uri.fsPath);
  }

  /** Somebody shows them until the answer is disposed of. */
  look(folder: vscode.WorkspaceFolder): vscode.Disposable {
    const path = folder.uri.fsPath;
    const count = (by: number) => {
      this.looks.set(path, (this.looks.get(path) ?? 0) + by);
      this.update();
    };
    count(1);
    let over = false;
    return new vscode.Disposable(() => {
      if (!over) {
        over = true;
        count(-1);
      }
    });
  }

  /** The answer to a question, until something newer is told. */
  keep(folder: vscode.WorkspaceFolder, report: GpusReport): void {
    if (!this.reports.has(folder.uri.fsPath)) {
      this.reports.set(folder.uri.fsPath, report);
    }
  }

  take({ folder, report }: GpusParams): void {
    this.reports.set(folder, report);
    this.pace.tell(folder);
  }

  /** What was told is not to be believed any more. */
  forget(folder: vscode.WorkspaceFolder): void {
    this.reports.delete(folder.uri.fsPath);
    // Asking again has it told again.
    this.asked.delete(folder.uri.fsPath);
    this.update();
  }

  private update(): void {
    if (this.session.helper.status !== "running") {
      return;
    }
    const wanted = new Set(
      watched(
        vscode.window.state.focused,
        this.session.folders.map((folder) => ({
          folder: folder.uri.fsPath,
          state: this.session.state(folder),
          looked: (this.looks.get(folder.uri.fsPath) ?? 0) > 0,
        })),
      ),
    );
    const before = this.asked;
    this.asked = wanted;
    for (const folder of wanted) {
      if (!before.has(folder)) {
        this.ask(folder, true);
      }
    }
    for (const folder of before) {
      if (!wanted.has(folder)) {
        this.ask(folder, false);
      }
    }
  }

  private ask(folder: string, watch: boolean): void {
    this.session.request("gpubay/watchGpus", { folder, watch }).catch((error: unknown) => {
      this.session.log.debug(`the GPUs of ${folder} are not watched: ${String(error)}`);
      // With the next change it is tried again.
      this.asked.delete(folder);
    });
  }
}
