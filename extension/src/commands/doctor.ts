import * as vscode from "vscode";
import { l10n } from "../l10n";
import type { Session } from "../session";
import { folderFor, refusedInside } from "./folder";
import { doctorPage } from "./doctorText";

const SCHEME = "gpubay-doctor";

/** What is in the way on this machine, as a page of plain text that can be copied. */
export function registerDoctor(context: vscode.ExtensionContext, session: Session): void {
  const pages = new Map<string, string>();
  const changed = new vscode.EventEmitter<vscode.Uri>();
  const doctor = async (folder: vscode.WorkspaceFolder): Promise<void> => {
    const options = { location: vscode.ProgressLocation.Notification, title: l10n.t("Looking for what is in the way") };
    try {
      const report = await vscode.window.withProgress({ ...options, cancellable: true }, (_, cancelled) =>
        session.request("gpubay/doctor", { folder: folder.uri.fsPath }, cancelled),
      );
      const page = vscode.Uri.from({ scheme: SCHEME, path: `/${folder.name}/GPU Bay Doctor.txt` });
      pages.set(page.toString(), doctorPage(report));
      changed.fire(page);
      await vscode.window.showTextDocument(page, { preview: true });
    } catch (error) {
      void session.showFailure(error, { folder, retry: () => doctor(folder) });
    }
  };
  context.subscriptions.push(
    changed,
    vscode.workspace.registerTextDocumentContentProvider(SCHEME, {
      onDidChange: changed.event,
      provideTextDocumentContent: (uri) => pages.get(uri.toString()) ?? "",
    }),
    vscode.commands.registerCommand("gpubay.doctor", async (about?: unknown) => {
      const folder = await folderFor(session, about);
      if (folder && !refusedInside(session)) {
        await doctor(folder);
      }
    }),
  );
}
