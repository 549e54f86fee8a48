// Failures, as messages with buttons for the next step.

import * as vscode from "vscode";
import { type Button, buttonText, buttonsFor, isBroken, sentence } from "./failure";
import type { GpuBay } from "./gpubay";
import { l10n } from "./l10n";
import type { Failure, FailurePlace } from "./protocol";
import { working } from "./status/statusText";
import { plain } from "./text";

interface About {
  folder?: vscode.WorkspaceFolder;
  retry?: () => unknown;
}

export async function showFailure(bay: GpuBay, failure: Failure, about: About): Promise<void> {
  if (failure.code === "cancelled") {
    return;
  }
  bay.log.error(`${failure.code}: ${[failure.message, failure.hint].filter(Boolean).join("\n")}`);
  const work = about.folder && bay.state(about.folder)?.work;
  const said =
    failure.code === "busy" && work
      ? l10n.t("Something else is under way here: {0} Wait for its end, or cancel it.", working(work.method))
      : sentence(failure, about.folder?.uri.fsPath);
  const buttons = buttonsFor(failure, about.retry !== undefined, bay.inside);
  const items = buttons.map((button) => ({ title: buttonText(button), button }));
  const show = isBroken(failure) ? vscode.window.showErrorMessage : vscode.window.showInformationMessage;
  const picked = await show(plain(said), ...items);
  if (picked) {
    await press(bay, picked.button, failure, about);
  }
}

async function press(bay: GpuBay, button: Button, failure: Failure, { folder, retry }: About): Promise<void> {
  const command = async (name: string, ...args: unknown[]) => {
    await vscode.commands.executeCommand(name, ...args);
  };
  switch (button) {
    case "retry":
      await retry?.();
      return;
    case "showLog":
      bay.log.show();
      return;
    case "openFile":
      if (failure.place) {
        await openPlace(failure.place);
      }
      return;
    case "initialize":
      return command("gpubay.initialize", folder);
    case "doctor":
      return command("gpubay.doctor", folder);
    case "start":
      return command("gpubay.start", folder);
    case "trust":
      return command("workbench.trust.manage");
    case "settings":
      return command("workbench.action.openSettings", "gpubay.helper.path");
    case "extension":
      return command("extension.open", "gpubay.gpubay");
    case "reload":
      return command("workbench.action.reloadWindow");
    case "openFolder":
      return command("workbench.action.files.openFolder");
    case "cancelWork": {
      const token = folder && bay.state(folder)?.work?.token;
      if (token) {
        bay.cancelWork(token);
      }
      return;
    }
  }
}

export async function openPlace({ path, line, column }: FailurePlace): Promise<void> {
  const at = new vscode.Position(Math.max(line - 1, 0), Math.max((column ?? 1) - 1, 0));
  await vscode.window.showTextDocument(vscode.Uri.file(path), { selection: new vscode.Range(at, at) });
}
