import * as vscode from "vscode";
import { folderFor } from "../commands/folder";
import { l10n } from "../l10n";
import type { Session } from "../session";
import { plain } from "../text";
import { recreate } from "../commands/recreate";
import { type Choice, type Row, footnote, rows, selection, settle } from "./rows";

interface Item extends vscode.QuickPickItem {
  /** None of a separator. */
  row?: Choice;
}

export function registerPicker(context: vscode.ExtensionContext, session: Session): void {
  context.subscriptions.push(
    vscode.commands.registerCommand("gpubay.selectGpus", async (about?: unknown) => {
      const folder = await folderFor(session, about);
      if (folder) {
        await selectGpus(session, folder);
      }
    }),
  );
}

async function selectGpus(session: Session, folder: vscode.WorkspaceFolder): Promise<void> {
  const gpus = await pick(session, folder);
  if (gpus === undefined) {
    return;
  }
  const title = l10n.t("Selecting GPUs of {0}", folder.name);
  const report = await session.runWork(folder, "gpubay/selectGpus", { gpus }, title);
  const waiting = report?.drift.find((drift) => drift.option.startsWith("gpus"));
  if (!waiting) {
    return;
  }
  const yes = l10n.t("Recreate…");
  const said = l10n.t("{0} The container has to be made anew for it.", plain(waiting.text));
  if ((await vscode.window.showInformationMessage(said, yes)) === yes) {
    await recreate(session, folder, { gpus, drift: report?.drift.map(({ text }) => text) ?? [] });
  }
}

/** The selection as `gpubay/selectGpus` takes it; `undefined`: none was made. */
async function pick(session: Session, folder: vscode.WorkspaceFolder): Promise<string | undefined> {
  const picker = vscode.window.createQuickPick<Item>();
  picker.title = l10n.t("GPUs of {0}", plain(folder.name));
  picker.placeholder = l10n.t("Asking the engine…");
  picker.canSelectMany = true;
  picker.matchOnDescription = true;
  picker.matchOnDetail = true;
  picker.busy = true;
  picker.show();
  const cancel = new vscode.CancellationTokenSource();
  try {
    return await new Promise<string | undefined>((resolve, reject) => {
      let before: Choice[] = [];
      picker.onDidHide(() => {
        resolve(undefined);
      });
      picker.onDidAccept(() => {
        if (!picker.busy) {
          resolve(selection(choices(picker.selectedItems)));
        }
      });
      picker.onDidChangeSelection((after) => {
        const settled = settle(before, choices(after));
        before = settled;
        if (settled.length !== after.length) {
          picker.selectedItems = after.filter(({ row }) => row && settled.includes(row));
        }
      });
      session.request("gpubay/gpus", { folder: folder.uri.fsPath }, cancel.token).then((report) => {
        const items = rows(report, session.state(folder)?.gpu ?? null).map(asItem);
        picker.items = items;
        before = items.flatMap(({ row }) => (row?.picked ? [row] : []));
        picker.selectedItems = items.filter(({ row }) => row?.picked);
        picker.placeholder = footnote(report);
        picker.busy = false;
      }, reject);
    });
  } catch (error) {
    void session.showFailure(error, { folder, retry: () => selectGpus(session, folder) });
    return undefined;
  } finally {
    cancel.cancel();
    cancel.dispose();
    picker.dispose();
  }
}

function asItem(row: Row): Item {
  if (row.kind === "separator") {
    return { label: row.label, kind: vscode.QuickPickItemKind.Separator };
  }
  const { label, description, detail } = row;
  return { label, description, detail, row };
}

function choices(items: readonly Item[]): Choice[] {
  return items.flatMap(({ row }) => (row ? [row] : []));
}
