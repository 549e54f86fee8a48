// The file that says how Dev Containers attaches to a container of that name. Knows nothing of the editor.

import type { AttachReport } from "../protocol";

/** As Dev Containers reads it from `nameConfigs`. */
export interface AttachConfig {
  workspaceFolder?: string;
  remoteUser?: string;
  extensions?: string[];
  /** Ours: a file with it may be written again, one without is the user's. */
  madeBy?: string;
}

export const MADE_BY = "GPU Bay";

/** What stands in it, or `undefined`: it is the user's own (or cannot be read), and stays. */
export function attachConfig(existing: string | undefined, target: AttachReport): AttachConfig | undefined {
  if (existing !== undefined && !isOurs(existing)) {
    return undefined;
  }
  return {
    workspaceFolder: target.folder,
    ...(target.user === null ? {} : { remoteUser: target.user }),
    ...(target.extensions.length === 0 ? {} : { extensions: target.extensions }),
    madeBy: MADE_BY,
  };
}

function isOurs(text: string): boolean {
  try {
    const parsed = JSON.parse(text) as unknown;
    return typeof parsed === "object" && parsed !== null && (parsed as AttachConfig).madeBy === MADE_BY;
  } catch {
    return false;
  }
}

/** Dev Containers encodes the name as one component of a path. */
export function configName(container: string): string {
  return `${encodeURIComponent(container)}.json`;
}

/** Who attaches: Microsoft's, or the copy of a fork. Each keeps its files under its own id. */
export const ATTACHERS = ["ms-vscode-remote.remote-containers", "anysphere.remote-containers"] as const;
export type Attacher = (typeof ATTACHERS)[number];

/** What attaches, whichever of them brings it. */
export const ATTACH = "remote-containers.attachToRunningContainer";

/**
 * Who attaches here. On the other machine of a remote window, extensions of the editor's own side cannot be seen, but what
 * they do can be asked for: `unseen`.
 */
export function attacherOf(
  isInstalled: (id: Attacher) => boolean,
  commands: readonly string[],
): Attacher | "unseen" | undefined {
  return ATTACHERS.find(isInstalled) ?? (commands.includes(ATTACH) ? "unseen" : undefined);
}

/** Which of them this editor could get, by the scheme of its addresses; `undefined`: none of them runs here. */
export function attacherFor(scheme: string, inBrowser: boolean): Attacher | undefined {
  if (inBrowser) {
    return undefined;
  }
  switch (scheme) {
    case "vscode":
    case "vscode-insiders":
      return "ms-vscode-remote.remote-containers";
    case "cursor":
      return "anysphere.remote-containers";
    default:
      return undefined;
  }
}

/** The address as a window of WSL reaches it: the engine is that of the distribution, not of Windows. */
export function throughWsl(uri: string, distribution: string | undefined): string {
  return distribution === undefined
    ? uri
    : uri.replace(
        /^(vscode-remote:\/\/attached-container\+[0-9a-f]+)(?=\/)/,
        `$1@wsl+${encodeURIComponent(distribution)}`,
      );
}

/** What a person types as the name of a machine for `ssh`; `undefined`: it cannot be one. */
export function aliasOf(typed: string): string | undefined {
  const alias = typed.trim();
  return /^[^\s/\\+@-][^\s/\\+]*$/.test(alias) ? alias : undefined;
}

/**
 * Whether Dev Containers finds the container by its name alone, with the engine that it uses by itself. Else the address
 * has to say which engine it is.
 */
export function isFoundByName({ authority, container }: AttachReport): boolean {
  const [, hex = ""] = /^attached-container\+([0-9a-f]+)$/.exec(authority) ?? [];
  return Buffer.from(hex, "hex").toString("utf8") === container.name;
}
