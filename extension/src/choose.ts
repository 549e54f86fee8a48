// Lists of choices. What they are called comes from the workspace, its containers, and whoever wrote those.

import * as vscode from "vscode";
import { plainRow } from "./text";

export interface Choice<T> {
  label: string;
  description?: string;
  detail?: string;
  /** Ticked from the beginning, where several can be chosen. */
  picked?: boolean;
  value: T;
}

type Options = Omit<vscode.QuickPickOptions, "canPickMany">;

/** `undefined`: none was chosen. */
export async function choose<T>(rows: readonly Choice<T>[], options: Options): Promise<T | undefined> {
  return (await vscode.window.showQuickPick(rows.map(plainRow), options))?.value;
}

/** Of those several, or none of them; `undefined`: it was not said. */
export async function chooseSome<T>(rows: readonly Choice<T>[], options: Options): Promise<T[] | undefined> {
  const picked = await vscode.window.showQuickPick(rows.map(plainRow), { ...options, canPickMany: true });
  return picked?.map(({ value }) => value);
}
