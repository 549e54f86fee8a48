// What the rest of the extension works with. It shows only what the helper has told with `gpubay/state`.

import type * as vscode from "vscode";
import type { GpuWatch } from "./gpus/watch";
import type { Unfinished } from "./helper/unfinished";
import type { Failure, FolderState, LogLinesParams, PackagesParams, Requests } from "./protocol";

export type Method = keyof Requests;
export type Params<M extends Method> = Requests[M]["params"];
export type Answer<M extends Method> = Requests[M]["answer"];

/** What `runWork` adds by itself. */
type Common = "folder" | "workDoneToken" | "allow" | "consent";
/** Requests that take a while: they report progress and may have to ask. */
export type WorkMethod = { [M in Method]: Params<M> extends { consent: boolean } ? M : never }[Method];
export type WorkParams<M extends WorkMethod> = Omit<Params<M>, Common> & { consent?: boolean };

/** `off`: not needed yet, or said goodbye to. */
export type HelperState = { status: "off" | "starting" | "running" } | { status: "down"; failure: Failure };

export interface Session {
  /** Folders of the window that a container can mount. */
  readonly folders: readonly vscode.WorkspaceFolder[];
  readonly helper: HelperState;
  /** This window is attached to a container of ours: nothing is started or attached from it. */
  readonly inside: boolean;
  readonly log: vscode.LogOutputChannel;
  readonly gpus: GpuWatch;
  /** What windows before this one did not finish. */
  readonly unfinished: Unfinished;
  /** As told last; `undefined` while nothing is known, as after the helper's end. */
  state(folder: vscode.WorkspaceFolder): FolderState | undefined;
  readonly onDidChangeState: vscode.Event<vscode.WorkspaceFolder>;
  readonly onDidChangeHelper: vscode.Event<void>;
  /** What Python tools see has changed: they are to look again. */
  readonly onDidChangePackages: vscode.Event<PackagesParams>;
  /** Pieces of logs that `gpubay/logs` was asked for. */
  readonly onLogLines: vscode.Event<LogLinesParams>;

  /** The helper's program, for terminals and tasks. Throws a `WorkError` where there is none, or no trust. */
  helperPath(): Promise<string>;
  /** Starts the helper where it does not run. Throws a `WorkError`. */
  request<M extends Method>(method: M, params: Params<M>, token?: vscode.CancellationToken): Promise<Answer<M>>;
  /**
   * Work with a notification that shows its steps and can cancel it. Asks what is to be asked (powers, which Dockerfile,
   * what would be lost) and tells what fails; `undefined`: it was not done, and the user knows.
   */
  runWork<M extends WorkMethod>(
    folder: vscode.WorkspaceFolder,
    method: M,
    params: WorkParams<M>,
    title: string,
  ): Promise<Answer<M> | undefined>;
  /** The folder that a command means: that of the active editor, or the one that the user picks. Tells where there is none. */
  pickFolder(): Promise<vscode.WorkspaceFolder | undefined>;
  /** Tells of it, with buttons for the next step. */
  showFailure(error: unknown, about?: { folder?: vscode.WorkspaceFolder; retry?: () => unknown }): Promise<void>;
}
