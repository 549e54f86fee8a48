import * as vscode from "vscode";
import { type Settings, settingsRead } from "./settingsPlan";

/** Until the editor has read of `keys` what the folder's settings say; their whole names. */
export function folderSettingsRead(folder: vscode.WorkspaceFolder, keys: string[]): Promise<void> {
  const settings: Settings = {
    known(key) {
      const said = vscode.workspace.getConfiguration(undefined, folder).inspect(key);
      return said?.workspaceFolderValue !== undefined || said?.workspaceValue !== undefined;
    },
    async written() {
      try {
        const file = vscode.Uri.joinPath(folder.uri, ".vscode", "settings.json");
        return new TextDecoder().decode(await vscode.workspace.fs.readFile(file));
      } catch {
        // There is none, or none that the editor could read either.
        return "";
      }
    },
    onDidRead: (call) => vscode.workspace.onDidChangeConfiguration(call),
  };
  return settingsRead(settings, keys);
}
