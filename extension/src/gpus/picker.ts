import * as vscode from "vscode";
import { folderFor } from "../commands/folder";
import { l10n } from "../l10n";
import type { GpusReport } from "../protocol";
import type { Session } from "../session";
import { plain } from "../text";
import { recreate } from "../commands/recreate";
import { type Choice, type Row, advice, change, heading, rows, same, settle } from "./rows";

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
  const title = (report?: GpusReport) => {
    picker.title = heading(plain(folder.name), report, session.state(folder));
  };
  title();
  picker.placeholder = l10n.t("Asking the engine…");
  picker.canSelectMany = true;
  picker.matchOnDescription = true;
  picker.matchOnDetail = true;
  picker.keepScrollPosition = true;
  picker.busy = true;
  picker.show();
  const cancel = new vscode.CancellationTokenSource();
  const subscriptions: vscode.Disposable[] = [];
  try {
    return await new Promise<string | undefined>((resolve, reject) => {
      let shown: Row[] = [];
      /** What the user has ticked. */
      let ticked: Choice[] | undefined;
      /** What was ticked before the user did anything. */
      let untouched: Choice[] | undefined;
      /** The list is being exchanged: what it says meanwhile of its ticks is not the user's. */
      let awaited: string | undefined;
      let known: GpusReport | undefined;
      const advise = () => {
        if (known) {
          picker.placeholder = advice(known, untouched ?? [], ticked ?? []);
        }
      };
      const show = (report: GpusReport) => {
        known = report;
        const made = rows(report, session.state(folder)?.gpu ?? null);
        if (same(made, shown)) {
          return;
        }
        shown = made;
        const items = made.map(asItem);
        const wanted = new Set((ticked ?? choices(items).filter((row) => row.picked)).map((row) => row.select));
        const active = picker.activeItems[0]?.row?.select;
        const selected = items.filter(({ row }) => row && wanted.has(row.select));
        ticked = choices(selected);
        awaited = key(ticked);
        untouched ??= ticked;
        picker.items = items.map((item) => ({ ...item, picked: selected.includes(item) }));
        picker.selectedItems = picker.items.filter(({ picked }) => picked);
        picker.activeItems = picker.items.filter(({ row }) => row !== undefined && row.select === active);
        title(report);
        advise();
        picker.busy = false;
      };
      picker.onDidHide(() => {
        resolve(undefined);
      });
      picker.onDidAccept(() => {
        if (!picker.busy) {
          resolve(change(untouched ?? [], ticked ?? []));
        }
      });
      picker.onDidChangeSelection((after) => {
        const now = choices(after);
        if (awaited !== undefined) {
          // First it is told to have none, then those that were set.
          const settled = key(now) === awaited;
          if (!settled && now.length === 0) {
            return;
          }
          awaited = undefined;
          if (settled) {
            return;
          }
        }
        const settled = settle(ticked ?? [], now);
        ticked = settled;
        advise();
        if (settled.length !== after.length) {
          picker.selectedItems = after.filter(({ row }) => row && settled.includes(row));
        }
      });
      // Somebody else may start it meanwhile.
      subscriptions.push(
        session.onDidChangeState((changed) => {
          if (changed.index === folder.index) {
            title(known);
          }
        }),
      );
      session.request("gpubay/gpus", { folder: folder.uri.fsPath }, cancel.token).then((report) => {
        show(report);
        // From here on as they are.
        subscriptions.push(
          session.gpus.onDidChange((path) => {
            const report = path === folder.uri.fsPath && session.gpus.report(folder);
            if (report) {
              show(report);
            }
          }),
          session.gpus.look(folder),
        );
      }, reject);
    });
  } catch (error) {
    void session.showFailure(error, { folder, retry: () => selectGpus(session, folder) });
    return undefined;
  } finally {
    cancel.cancel();
    cancel.dispose();
    for (const subscription of subscriptions) {
      subscription.dispose();
    }
    picker.dispose();
  }
}

function key(some: readonly Choice[]): string {
  return JSON.stringify(some.map((row) => row.select).sort());
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
