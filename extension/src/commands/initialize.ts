// Writes what a fresh folder lacks, after saying what that would be.

import * as vscode from "vscode";
import { choose, chooseSome } from "../choose";
import { l10n } from "../l10n";
import type { InitReport } from "../protocol";
import type { Session } from "../session";
import { plain } from "../text";
import { agreed } from "../work/questions";
import { initQuestion } from "./initializeText";

export async function initialize(session: Session, folder: vscode.WorkspaceFolder): Promise<void> {
  const title = l10n.t("Looking at {0}", folder.name);
  const nothing = { preset: null, base: null, name: null, style: null, mounts: [] };
  const found = await session.runWork(folder, "gpubay/init", { ...nothing, dryRun: true }, title);
  if (!found) {
    return;
  }
  // Without a base there is a Dockerfile already, and nothing to choose.
  const preset = found.base === null ? null : await pickPreset(found);
  if (preset === undefined) {
    return;
  }
  const mounts = found.mounts.length === 0 ? [] : await pickMounts(found);
  if (mounts === undefined) {
    return;
  }
  const wish = { ...nothing, preset, mounts };
  const planned = await session.runWork(folder, "gpubay/init", { ...wish, dryRun: true }, title);
  if (!planned || !(await agreed(initQuestion(folder.name, planned)))) {
    return;
  }
  const writing = l10n.t("Writing files into {0}", folder.name);
  const written = await session.runWork(folder, "gpubay/init", { ...wish, dryRun: false }, writing);
  if (!written) {
    return;
  }
  for (const note of [...written.notes, ...written.undone]) {
    session.log.info(note);
  }
  const start = l10n.t("Start GPU Container");
  const said = l10n.t("The files are written. Next, the container of {0} is built and started.", plain(folder.name));
  if ((await vscode.window.showInformationMessage(said, start)) === start) {
    await vscode.commands.executeCommand("gpubay.start", folder);
  }
}

async function pickPreset({ presets, usual }: InitReport): Promise<string | undefined> {
  const rows = presets.map(({ name, image, about }) => ({
    label: name,
    description: name === usual ? l10n.t("{0} (usual here)", image) : image,
    detail: about,
    value: name,
  }));
  rows.sort((a, b) => Number(b.value === usual) - Number(a.value === usual));
  return choose(rows, { placeHolder: l10n.t("What is the container built on?"), ignoreFocusOut: true });
}

async function pickMounts({ mounts }: InitReport): Promise<string[] | undefined> {
  const rows = mounts.map(({ host, container, about, mounted }) => ({
    label: host,
    description: `→ ${container}`,
    detail: about,
    picked: mounted,
    value: container,
  }));
  const placeHolder = l10n.t("Which folders of this machine does the container see besides?");
  return chooseSome(rows, { placeHolder, ignoreFocusOut: true });
}
