// What the steps of the walkthrough are ticked by: what has been reached, not what was clicked.
//
// What is true already when the editor registers a walkthrough ticks nothing, then or later: it counts as seen. When that is, some seconds
// after a window opens, nobody tells. So a step waits for either value of a second key, and that one changes whenever a step is reached or
// the page may be looked at: at most one of the two was true then.

import * as vscode from "vscode";
import type { Session } from "./session";
import { type Reached, reached } from "./walkthroughPlan";

export function registerWalkthrough(context: vscode.ExtensionContext, session: Session): void {
  const known = new Set<Reached>();
  let told = 0;
  const tell = () => {
    if (known.size > 0) {
      told += 1;
      void vscode.commands.executeCommand("setContext", "gpubay.told", told % 2 === 0 ? "again" : "once");
    }
  };
  context.subscriptions.push(
    session.onDidChangeState((folder) => {
      for (const step of reached(session.state(folder))) {
        if (!known.has(step)) {
          known.add(step);
          void vscode.commands.executeCommand("setContext", `gpubay.${step}`, true);
        }
      }
      tell();
    }),
    // A tab of the editor's own, as the page of walkthroughs is one, has no input that we could know.
    vscode.window.tabGroups.onDidChangeTabs(({ opened, changed }) => {
      if ([...opened, ...changed].some((tab) => tab.input === undefined)) {
        tell();
      }
    }),
    vscode.window.onDidChangeWindowState(tell),
  );
}
