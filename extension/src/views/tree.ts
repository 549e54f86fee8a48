// The view in the activity bar: folders, the dev container of each, jobs, GPUs.

import * as vscode from "vscode";
import { followJob } from "../commands/jobs";
import { asFailure } from "../failure";
import { l10n } from "../l10n";
import type { Session } from "../session";
import { byName, removeQuestion } from "../work/questionText";
import { agreed, once } from "../work/questions";
import { type ViewRow, childrenOf, folderRow, gpuRows, unknownGpus, unknownRow, virtualRow } from "./rows";

interface Item {
  row: ViewRow;
  folder: vscode.WorkspaceFolder;
}

export function registerViews(context: vscode.ExtensionContext, session: Session): void {
  const tree = new Tree(session);
  const view = vscode.window.createTreeView("gpubay.workspaces", { treeDataProvider: tree });
  const register = (name: string, run: (item: Item) => Promise<unknown>) => {
    context.subscriptions.push(
      vscode.commands.registerCommand(name, (item: unknown) => (isItem(item) ? run(item) : undefined)),
    );
  };
  register("gpubay.job.logs", ({ folder, row }) => followJob(session, folder, row.job ?? ""));
  register("gpubay.job.remove", ({ folder, row }) => {
    const title = l10n.t("Removing job {0}", row.job ?? "");
    return session.runWork(folder, "gpubay/rm", { names: [row.job ?? ""], finished: false }, title);
  });
  register("gpubay.job.stop", ({ folder, row }) => {
    const title = l10n.t("Stopping job {0}", row.job ?? "");
    return session.runWork(folder, "gpubay/stop", { names: [row.job ?? ""] }, title);
  });
  register("gpubay.jobs.removeFinished", ({ folder }) =>
    session.runWork(folder, "gpubay/rm", { names: [], finished: true }, l10n.t("Removing jobs that have ended")),
  );
  register("gpubay.container.remove", ({ folder }) => removeContainers(session, folder));
  context.subscriptions.push(
    view,
    tree,
    session.onDidChangeState((folder) => {
      tree.changed(folder);
      badge(view, session);
    }),
    session.onDidChangeHelper(() => {
      tree.changed();
    }),
    session.gpus.onDidChange((folder) => {
      tree.gpusChanged(folder);
    }),
    view.onDidChangeVisibility(({ visible }) => {
      tree.visible = visible;
    }),
    view.onDidCollapseElement(({ element }) => {
      tree.unfold(element, false);
    }),
    view.onDidExpandElement(({ element }) => {
      tree.unfold(element, true);
    }),
    vscode.commands.registerCommand("gpubay.view.refresh", () => refresh(session, tree)),
  );
}

async function refresh(session: Session, tree: Tree): Promise<void> {
  for (const folder of session.folders) {
    session.gpus.forget(folder);
  }
  tree.changed();
  try {
    // What is found comes as a state.
    await Promise.all(session.folders.map((folder) => session.request("gpubay/status", { folder: folder.uri.fsPath })));
  } catch (error) {
    // An engine that is away is in the view already; that nobody could be asked is not.
    void session.showFailure(error, { retry: () => refresh(session, tree) });
  }
}

/** All of them go, with the output of jobs that have ended: what there is is listed first. */
async function removeContainers(session: Session, folder: vscode.WorkspaceFolder): Promise<void> {
  const title = l10n.t("Removing the containers of {0}", folder.name);
  try {
    const yes = await once(`remove ${folder.uri.fsPath}`, async () => {
      const { sentences } = await session.request("gpubay/stakes", { folder: folder.uri.fsPath, jobs: true });
      const state = session.state(folder);
      const said = byName(sentences, state);
      return agreed(removeQuestion(folder.name, Boolean(state?.container), state?.jobs ?? [], said));
    });
    if (yes) {
      await session.runWork(folder, "gpubay/down", { consent: true }, title);
    }
  } catch (error) {
    void session.showFailure(error, { folder, retry: () => removeContainers(session, folder) });
  }
}

/** How many jobs run: seen without opening the view. */
function badge(view: vscode.TreeView<Item>, session: Session): void {
  const jobs = session.folders.flatMap((folder) => session.state(folder)?.jobs ?? []);
  const value = jobs.filter(({ state }) => state === "running").length;
  view.badge = value > 0 ? { value, tooltip: l10n.t("{0} jobs run", value) } : undefined;
}

function isItem(item: unknown): item is Item {
  return typeof item === "object" && item !== null && "row" in item && "folder" in item;
}

class Tree implements vscode.TreeDataProvider<Item>, vscode.Disposable {
  private readonly emitter = new vscode.EventEmitter<Item | undefined>();
  readonly onDidChangeTreeData = this.emitter.event;

  private isVisible = false;
  /** The rows «GPUs» that are shown and open, by folder; who looks at them looks at what is below. */
  private readonly open = new Set<string>();
  /** Folders whose rows are not shown. */
  private readonly folded = new Set<string>();
  private readonly looks = new Map<string, vscode.Disposable>();
  /** The rows «GPUs» as the editor knows them. */
  private readonly gpuItems = new Map<string, Item>();

  constructor(private readonly session: Session) {}

  dispose(): void {
    this.visible = false;
    this.emitter.dispose();
  }

  set visible(visible: boolean) {
    this.isVisible = visible;
    this.look();
  }

  unfold({ row, folder }: Item, open: boolean): void {
    const path = folder.uri.fsPath;
    if (row.kind === "gpus") {
      this.noteOpen(path, open);
    } else if (row.kind === "folder") {
      if (open) {
        this.folded.delete(path);
      } else {
        this.folded.add(path);
      }
      this.look();
    }
  }

  private noteOpen(path: string, open: boolean): void {
    if (open) {
      this.open.add(path);
    } else {
      this.open.delete(path);
    }
    this.look();
  }

  /** GPUs are followed while they can be seen here, and only those: each folder may have an engine of its own. */
  private look(): void {
    const seen = (path: string) => this.isVisible && this.open.has(path) && !this.folded.has(path);
    for (const [path, look] of this.looks) {
      if (!seen(path)) {
        this.looks.delete(path);
        look.dispose();
      }
    }
    for (const folder of this.session.folders) {
      const path = folder.uri.fsPath;
      if (seen(path) && !this.looks.has(path)) {
        this.looks.set(path, this.session.gpus.look(folder));
      }
    }
  }

  /** The rows below «GPUs» alone. */
  gpusChanged(folder: string): void {
    const item = this.gpuItems.get(folder);
    if (item) {
      this.emitter.fire(item);
    }
  }

  /** All of it: rows come and go at the top as well, where there is one folder only. */
  changed(_folder?: vscode.WorkspaceFolder): void {
    this.emitter.fire(undefined);
  }

  getTreeItem({ row, folder }: Item): vscode.TreeItem {
    const { None, Collapsed, Expanded } = vscode.TreeItemCollapsibleState;
    const item = new vscode.TreeItem(row.label, row.expands ? (row.folded ? Collapsed : Expanded) : None);
    item.id = row.id;
    item.description = row.description;
    item.tooltip = row.tooltip;
    item.iconPath = new vscode.ThemeIcon(row.icon);
    item.contextValue = row.context;
    if (row.command !== undefined) {
      item.command = { command: row.command, title: row.label, arguments: [folder] };
    }
    return item;
  }

  /** One folder is shown without a row of its own. Nothing at all, where nothing is trusted or open, is the place of the welcome. */
  async getChildren(item?: Item): Promise<Item[]> {
    if (item === undefined) {
      const all = vscode.workspace.workspaceFolders ?? [];
      const [only] = this.session.folders;
      if (!only) {
        return [];
      }
      return all.length === 1 ? this.below(only) : all.map((folder) => ({ folder, row: this.rowOf(folder) }));
    }
    if (item.row.kind === "folder" && item.row.expands) {
      return this.below(item.folder);
    }
    return item.row.kind === "gpus" ? this.gpus(item.folder) : [];
  }

  private rowOf(folder: vscode.WorkspaceFolder): ViewRow {
    return this.session.folders.includes(folder)
      ? folderRow(folder.name, folder.uri.fsPath, this.session.state(folder))
      : virtualRow(folder.name, folder.uri.toString());
  }

  private below(folder: vscode.WorkspaceFolder): Item[] {
    const path = folder.uri.fsPath;
    const state = this.session.state(folder);
    const around = { inside: this.session.inside, several: (vscode.workspace.workspaceFolders?.length ?? 0) > 1 };
    const rows = state ? childrenOf(state, around) : [unknownRow(path, this.session.helper)];
    const items = rows.map((row) => ({ row, folder }));
    const gpus = items.find(({ row }) => row.kind === "gpus");
    if (gpus?.row.id !== this.gpuItems.get(path)?.row.id) {
      // What is below it is asked for next, if it is open.
      this.noteOpen(path, false);
    }
    if (gpus) {
      this.gpuItems.set(path, gpus);
    } else {
      this.gpuItems.delete(path);
    }
    return items;
  }

  /** Asked only where somebody looks: the row is open. Then they are followed. */
  private async gpus(folder: vscode.WorkspaceFolder): Promise<Item[]> {
    this.noteOpen(folder.uri.fsPath, true);
    try {
      const { gpus } = this.session;
      let report = gpus.report(folder);
      if (!report) {
        report = await this.session.request("gpubay/gpus", { folder: folder.uri.fsPath });
        gpus.keep(folder, report);
      }
      const now = this.session.state(folder)?.gpu ?? null;
      return gpuRows(folder.uri.fsPath, report, now).map((row) => ({ row, folder }));
    } catch (error) {
      const failure = asFailure(error);
      this.session.log.debug(`the GPUs are not known: ${failure.message}`);
      return unknownGpus(folder.uri.fsPath, failure, this.session.state(folder)).map((row) => ({ row, folder }));
    }
  }
}
