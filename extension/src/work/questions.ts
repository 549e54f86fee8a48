// Work that may have to ask: which powers are granted, which Dockerfile is meant, whether what runs may end.

import * as vscode from "vscode";
import { choose } from "../choose";
import { asFailure } from "../failure";
import { l10n } from "../l10n";
import type { Failure } from "../protocol";
import type { Session, WorkMethod } from "../session";
import { plain } from "../text";
import {
  type Question,
  asked,
  byName,
  deletionsQuestion,
  listed,
  powersQuestion,
  runningQuestion,
} from "./questionText";

/**
 * Tries until it is done, answered with no, or failed; whoever looks on has then been told. `consent`: what runs may end, as
 * was agreed to before.
 */
export async function workWithQuestions<T>(
  session: Session,
  folder: vscode.WorkspaceFolder,
  work: { method: WorkMethod; title: string; consent: boolean },
  attempt: (method: WorkMethod, allow: string[], consent: boolean) => Promise<T>,
): Promise<T | undefined> {
  const allow: string[] = [];
  let { method } = work;
  let { consent } = work;
  let followed = false;
  for (;;) {
    try {
      return await attempt(method, allow, consent);
    } catch (error) {
      const failure = asFailure(error);
      const question = asked(work.method, failure, { allow, consent, followed });
      switch (question?.about) {
        case "powers":
          if (!(await granted(folder, powersQuestion(folder.name, question.missing)))) {
            return undefined;
          }
          allow.push(...question.missing.map((power) => power.key));
          break;
        case "dockerfile":
          if (!(await chooseDockerfile(session, folder, failure))) {
            return undefined;
          }
          break;
        case "end": {
          const running = question.all ? await stakes(session, folder, failure) : listed(failure);
          const said = byName(running, session.state(folder));
          if (!(await agreed(runningQuestion(folder.name, work.title, said)))) {
            return undefined;
          }
          consent = true;
          break;
        }
        case "follow":
          if (!(await agreed(deletionsQuestion(failure)))) {
            return undefined;
          }
          followed = true;
          if (work.method === "gpubay/sync") {
            consent = true;
          } else if (!(await follow(session, folder))) {
            return undefined;
          }
          // The container has been stopped and started by then: what is left to do is an `up`, which ends nothing.
          if (method === "gpubay/restart") {
            method = "gpubay/up";
            consent = false;
          }
          break;
        case undefined:
          if (!(await retried(session, folder, error, work.consent))) {
            return undefined;
          }
          // What was agreed to was meant for that one time.
          ({ method } = work);
          consent = false;
          followed = false;
      }
    }
  }
}

/** What has vanished inside is to vanish outside. */
async function follow(session: Session, folder: vscode.WorkspaceFolder): Promise<boolean> {
  const title = l10n.t("Refreshing completion of {0}", folder.name);
  return (await session.runWork(folder, "gpubay/sync", { consent: true }, title)) !== undefined;
}

/**
 * Tells of a failure; whether it is to be tried once more. What began with an agreed loss has to be asked for again where
 * that is listed.
 */
async function retried(
  session: Session,
  folder: vscode.WorkspaceFolder,
  error: unknown,
  agreedBefore: boolean,
): Promise<boolean> {
  let again = false;
  const retry = () => {
    again = true;
  };
  await session.showFailure(error, { folder, retry: agreedBefore ? undefined : retry });
  return again;
}

/** A modal dialog; closing it is a no. The first button has the focus: where something ends, that is the one which keeps it. */
export async function agreed({ message, detail, yes, no }: Question): Promise<boolean> {
  const buttons = no === undefined ? [yes] : [no, yes];
  return (await vscode.window.showWarningMessage(plain(message), { modal: true, detail }, ...buttons)) === yes;
}

/** Questions that are open, or about to be. */
const open = new Set<string>();

/** Asks, unless just that is being asked: a second click is none for a second dialog behind the first. */
export async function once<T>(key: string, ask: () => Promise<T>): Promise<T | undefined> {
  if (open.has(key)) {
    return undefined;
  }
  open.add(key);
  try {
    return await ask();
  } finally {
    open.delete(key);
  }
}

/**
 * What is granted lasts, and the first button has the focus: an Enter that was meant for something else shows the file that asks,
 * and grants nothing.
 */
async function granted(folder: vscode.WorkspaceFolder, { message, detail, yes }: Question): Promise<boolean> {
  const show = l10n.t("Open gpubay.toml");
  const picked = await vscode.window.showWarningMessage(plain(message), { modal: true, detail }, show, yes);
  if (picked === show) {
    await vscode.window.showTextDocument(vscode.Uri.joinPath(folder.uri, "gpubay.toml"));
  }
  return picked === yes;
}

async function chooseDockerfile(session: Session, folder: vscode.WorkspaceFolder, failure: Failure): Promise<boolean> {
  const rows = failure.candidates.map((path) => ({ label: path, value: path }));
  const dockerfile = await choose(rows, {
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

/** All that runs and is lost, in sentences; the failure's own words where that cannot be found out. */
async function stakes(session: Session, folder: vscode.WorkspaceFolder, failure: Failure): Promise<string[]> {
  try {
    const { sentences } = await session.request("gpubay/stakes", { folder: folder.uri.fsPath, jobs: true });
    return sentences.length > 0 ? sentences : listed(failure);
  } catch {
    return listed(failure);
  }
}
