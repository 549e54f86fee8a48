import * as vscode from "vscode";
import { useTranslations } from "./l10n";
import { GpuBay } from "./gpubay";
import type { Session } from "./session";
import { registerEnvironmentInside } from "./environmentInside";
import { registerAttach } from "./attach/attach";
import { registerCommands } from "./commands";
import { registerLost } from "./gpus/lost";
import { registerPicker } from "./gpus/picker";
import { registerOnOpen } from "./onOpen";
import { registerPython } from "./python/python";
import { registerStatusBar } from "./status/statusBar";
import { registerJobNews } from "./commands/jobNews";
import { registerTasks } from "./tasks/provider";
import { registerWalkthrough } from "./walkthrough";
import { registerViews } from "./views/tree";

/** Each has one room of the extension; it adds what it registers to the subscriptions. */
type Part = (context: vscode.ExtensionContext, session: Session) => void;
const parts: Part[] = [
  registerCommands,
  registerPicker,
  registerLost,
  registerEnvironmentInside,
  registerAttach,
  registerOnOpen,
  registerPython,
  registerTasks,
  registerViews,
  registerJobNews,
  registerWalkthrough,
];

let bay: GpuBay | undefined;

/** Only registers; the helper is started when the editor has had its turn. */
export function activate(context: vscode.ExtensionContext): { session: Session; status: vscode.StatusBarItem } {
  useTranslations((message, ...args) => vscode.l10n.t(message, ...args), vscode.env.language);
  bay = new GpuBay(context);
  for (const part of parts) {
    part(context, bay);
  }
  const status = registerStatusBar(context, bay);
  bay.startSoon();
  return { session: bay, status };
}

export async function deactivate(): Promise<void> {
  await bay?.stop();
}
