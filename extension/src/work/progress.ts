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

export function withWork<T>(
  title: string,
  work: (report: (value: ProgressValue) => void, cancelled: vscode.CancellationToken) => Promise<T>,
): Promise<T> {
  const options = { location: vscode.ProgressLocation.Notification, title: plain(title), cancellable: true };
  const shown = vscode.window.withProgress(options, async (progress, cancelled) => {
    const began = Date.now();
    let step: string | undefined;
    const show = () => {
      progress.report({
        message: plain(message(step, elapsed(Date.now() - began), cancelled.isCancellationRequested)),
      });
    };
    const clock = setInterval(show, 1000);
    cancelled.onCancellationRequested(show);
    try {
      return await work((value) => {
        if (value.kind === "report" && value.message !== undefined) {
          step = value.message;
          show();
        }
      }, cancelled);
    } finally {
      clearInterval(clock);
    }
  });
  return Promise.resolve(shown);
}
