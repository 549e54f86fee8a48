// The palette. What a command needs is asked of the session, which starts the helper where it does not run, and tells
// with buttons where it cannot.

import * as vscode from "vscode";
import { l10n } from "../l10n";
import type { Session, WorkMethod } from "../session";
import { registerDoctor } from "./doctor";
import { folderFor, refusedInside } from "./folder";
import { initialize } from "./initialize";
import { runJob } from "./jobs";
import { recreate } from "./recreate";
import { openShell, runPython } from "./terminals";

type InFolder = (session: Session, folder: vscode.WorkspaceFolder) => Promise<unknown>;

export function registerCommands(context: vscode.ExtensionContext, session: Session): void {
  const register = (name: string, run: (about?: unknown) => unknown) => {
    context.subscriptions.push(vscode.commands.registerCommand(name, run));
  };
  /** About a folder; `outside`: not from a window that is in the container. */
  const inFolder = (name: string, run: InFolder, outside = false) => {
    register(name, async (about) => {
      const folder = await folderFor(session, about);
      if (folder && !(outside && refusedInside(session))) {
        return run(session, folder);
      }
      return undefined;
    });
  };

  inFolder("gpubay.start", (_, folder) => start(session, folder), true);
  inFolder("gpubay.stop", (_, folder) => stop(session, folder), true);
  inFolder(
    "gpubay.restart",
    work("gpubay/restart", (name) => l10n.t("Restarting the container of {0}", name)),
    true,
  );
  inFolder("gpubay.rebuild", (_, folder) => rebuild(session, folder, false), true);
  inFolder("gpubay.rebuildNoCache", (_, folder) => rebuild(session, folder, true), true);
  inFolder("gpubay.recreate", (_, folder) => recreate(session, folder), true);
  inFolder(
    "gpubay.refresh",
    work("gpubay/sync", (name) => l10n.t("Refreshing completion of {0}", name)),
    true,
  );
  inFolder("gpubay.initialize", initialize, true);
  inFolder("gpubay.shell", (_, folder) => openShell(session, folder, false));
  inFolder("gpubay.rootShell", (_, folder) => openShell(session, folder, true), true);
  inFolder("gpubay.runJob", runJob, true);
  register("gpubay.runPython", (about) => runPython(session, about));
  register("gpubay.showLog", () => {
    session.log.show();
  });
  registerDoctor(context, session);
}

function work(method: Exclude<WorkMethod, Asking>, title: (name: string) => string): InFolder {
  return (session, folder) => session.runWork(folder, method, {}, title(folder.name));
}
/** Those that need more than a folder. */
type Asking =
  "gpubay/init" | "gpubay/logs" | "gpubay/rebuild" | "gpubay/rm" | "gpubay/run" | "gpubay/selectGpus" | "gpubay/stop";

function stop(session: Session, folder: vscode.WorkspaceFolder): Promise<unknown> {
  return session.runWork(folder, "gpubay/stop", { names: [] }, l10n.t("Stopping the container of {0}", folder.name));
}

/** A folder without anything to build from is offered what it lacks. */
async function start(session: Session, folder: vscode.WorkspaceFolder): Promise<unknown> {
  const title = l10n.t("Starting the container of {0}", folder.name);
  const report = await session.runWork(folder, "gpubay/up", {}, title);
  for (const warning of report?.warnings ?? []) {
    session.log.warn(warning);
  }
  return report;
}

async function rebuild(session: Session, folder: vscode.WorkspaceFolder, noCache: boolean): Promise<unknown> {
  const title = l10n.t("Rebuilding the image of {0}", folder.name);
  const report = await session.runWork(folder, "gpubay/rebuild", { noCache }, title);
  if (report && report.drift.length > 0) {
    const yes = l10n.t("Recreate…");
    const said = l10n.t(
      "The image is built. The container still runs the one before, since something in it would be lost.",
    );
    if ((await vscode.window.showInformationMessage(said, yes)) === yes) {
      await recreate(session, folder);
    }
  }
  return report;
}
