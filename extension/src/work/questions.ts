// Work that may have to ask: which powers are granted, which Dockerfile is meant, whether what runs may end.

import * as vscode from "vscode";
import { asFailure } from "../failure";
import { l10n } from "../l10n";
import type { Failure } from "../protocol";
import type { Session } from "../session";
import { plain } from "../text";
import { type Question, deletionsQuestion, powersQuestion, runningQuestion } from "./questionText";

/** Tries until it is done, answered with no, or failed; whoever looks on has then been told. */
export async function workWithQuestions<T>(
  session: Session,
  folder: vscode.WorkspaceFolder,
  title: string,
  attempt: (allow: string[], consent: boolean) => Promise<T>,
): Promise<T | undefined> {
  const allow: string[] = [];
  let consent = false;
  for (;;) {
    try {
      return await attempt(allow, consent);
    } catch (error) {
      const failure = asFailure(error);
      const missing = failure.powers.filter((power) => !allow.includes(power.key));
      if (failure.code === "needs_consent" && missing.length > 0) {
        if (!(await agreed(powersQuestion(folder.name, missing)))) {
          return undefined;
        }
        allow.push(...missing.map((power) => power.key));
      } else if (failure.code === "ambiguous_dockerfile" && failure.candidates.length > 0) {
        if (!(await chooseDockerfile(session, folder, failure))) {
          return undefined;
        }
      } else if (failure.code === "work_running" && !consent) {
        const running = await stakes(session, folder, failure);
        if (!(await agreed(runningQuestion(folder.name, title, running)))) {
          return undefined;
        }
        consent = true;
      } else if (failure.code === "mirror_halted" && !consent) {
        if (!(await agreed(deletionsQuestion(failure)))) {
          return undefined;
        }
        consent = true;
      } else {
        // Not awaited: a message stays until it is looked at.
        void session.showFailure(error, {
          folder,
          retry: () => workWithQuestions(session, folder, title, attempt),
        });
        return undefined;
      }
    }
  }
}

/** A modal dialog; closing it is a no. */
export async function agreed({ message, detail, yes }: Question): Promise<boolean> {
  return (await vscode.window.showWarningMessage(plain(message), { modal: true, detail }, yes)) === yes;
}

async function chooseDockerfile(session: Session, folder: vscode.WorkspaceFolder, failure: Failure): Promise<boolean> {
  const dockerfile = await vscode.window.showQuickPick(failure.candidates, {
    placeHolder: l10n.t("Which Dockerfile is this folder's? The answer is remembered."),
    ignoreFocusOut: true,
  });
  if (dockerfile === undefined) {
    return false;
  }
  try {
    await session.request("gpubay/chooseDockerfile", { folder: folder.uri.fsPath, dockerfile });
    return true;
  } catch (error) {
    void session.showFailure(error, { folder });
    return false;
  }
}

/** What runs, in sentences; the failure's own words where that cannot be found out. */
async function stakes(session: Session, folder: vscode.WorkspaceFolder, failure: Failure): Promise<string[]> {
  try {
    const { sentences } = await session.request("gpubay/stakes", { folder: folder.uri.fsPath, jobs: true });
    return sentences.length > 0 ? sentences : [failure.message];
  } catch {
    return [failure.message];
  }
}
