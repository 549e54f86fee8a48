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
  let soon: NodeJS.Timeout;
  const announce = (cancelling: boolean) => {
    const options = { location: vscode.ProgressLocation.Notification, title: plain(title), cancellable: !cancelling };
    void vscode.window.withProgress(options, async (progress, cancelled) => {
      show = () => {
        progress.report({ message: plain(message(step, elapsed(Date.now() - began), cancelling)) });
      };
      cancelled.onCancellationRequested(() => {
        cancel.cancel();
        // Its button has closed it: cleaning up, where that takes a while, is told in another one.
        soon = setTimeout(announce, ANNOUNCED_AFTER_MS, true);
      });
      show();
      const clock = setInterval(() => {
        show();
      }, 1000);
      await done.then(
        () => undefined,
        () => undefined,
      );
      clearInterval(clock);
    });
  };
  soon = setTimeout(announce, ANNOUNCED_AFTER_MS, false);
  return done.finally(() => {
    clearTimeout(soon);
    cancel.dispose();
  });
}
