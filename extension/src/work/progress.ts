// A notification with the steps of work, how long it takes, and a way to cancel it.

import * as vscode from "vscode";
import { plain } from "../text";
import { elapsed, message } from "./progressText";

/** Of LSP's `$/progress`. */
export interface ProgressValue {
  kind: "begin" | "report" | "end";
  message?: string;
  percentage?: number;
}

/** What is done sooner is not announced: the editor would show it for a second, beside whatever is told of it next. */
const ANNOUNCED_AFTER_MS = 300;

export function withWork<T>(
  title: string,
  work: (report: (value: ProgressValue) => void, cancelled: vscode.CancellationToken) => Promise<T>,
): Promise<T> {
  const cancel = new vscode.CancellationTokenSource();
  const began = Date.now();
  let step: string | undefined;
  let show = (): void => undefined;
  const done = work((value) => {
    if (value.kind === "report" && value.message !== undefined) {
      step = value.message;
      show();
    }
  }, cancel.token);
  const announce = () => {
    const options = { location: vscode.ProgressLocation.Notification, title: plain(title), cancellable: true };
    void vscode.window.withProgress(options, async (progress, cancelled) => {
      show = () => {
        const text = message(step, elapsed(Date.now() - began), cancelled.isCancellationRequested);
        progress.report({ message: plain(text) });
      };
      cancelled.onCancellationRequested(() => {
        cancel.cancel();
        show();
      });
      show();
      const clock = setInterval(show, 1000);
      await done.then(
        () => undefined,
        () => undefined,
      );
      clearInterval(clock);
    });
  };
  const soon = setTimeout(announce, ANNOUNCED_AFTER_MS);
  return done.finally(() => {
    clearTimeout(soon);
    cancel.dispose();
  });
}
