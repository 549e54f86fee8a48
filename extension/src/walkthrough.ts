// What the steps of the walkthrough are ticked by: what has been reached, not what was clicked.

import * as vscode from "vscode";
import type { Session } from "./session";
import { type Reached, reached } from "./walkthroughPlan";

export function registerWalkthrough(context: vscode.ExtensionContext, session: Session): void {
  const known = new Set<Reached>();
  context.subscriptions.push(
    session.onDidChangeState((folder) => {
      for (const step of reached(session.state(folder))) {
        if (!known.has(step)) {
          known.add(step);
          void vscode.commands.executeCommand("setContext", `gpubay.${step}`, true);
        }
      }
    }),
  );
}
