import * as vscode from "vscode";
import { useTranslations } from "./l10n";

export function activate(_context: vscode.ExtensionContext): void {
  useTranslations((message, ...args) => vscode.l10n.t(message, ...args));
}
