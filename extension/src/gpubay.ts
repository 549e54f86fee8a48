// The session of this window: the helper's life, what it has told, and the way to it.

import { randomUUID } from "node:crypto";
import path from "node:path";
import * as vscode from "vscode";
import type { LanguageClient } from "vscode-languageclient/node";
import { WorkError, asFailure, failure, untrusted } from "./failure";
import { pickFolder } from "./folders";
import type { Life } from "./helper/client";
import { capabilitiesOf } from "./helper/capabilities";
import { Crashes } from "./helper/crashes";
import { locate } from "./helper/locate";
import { Unfinished } from "./helper/unfinished";
import { l10n } from "./l10n";
import { writeLog } from "./log";
import { GpuWatch } from "./gpus/watch";
import { Pace } from "./pace";
import { showFailure } from "./present";
import type {
  Capabilities,
  Failure,
  FolderState,
  GpusParams,
  LogLinesParams,
  LogParams,
  PackagesParams,
} from "./protocol";
import type { Answer, HelperState, Method, Params, Session, WorkMethod, WorkParams } from "./session";
import { type ProgressValue, withWork } from "./work/progress";
import { workWithQuestions } from "./work/questions";

export class GpuBay implements Session {
  readonly log = vscode.window.createOutputChannel("GPU Bay", { log: true });
  readonly unfinished: Unfinished;
  readonly gpus: GpuWatch;
  helper: HelperState = { status: "off" };
  inside = false;

  private readonly stateChanged = new vscode.EventEmitter<vscode.WorkspaceFolder>();
  private readonly helperChanged = new vscode.EventEmitter<void>();
  private readonly packagesChanged = new vscode.EventEmitter<PackagesParams>();
  private readonly logLines = new vscode.EventEmitter<LogLinesParams>();
  readonly onDidChangeState = this.stateChanged.event;
  readonly onDidChangeHelper = this.helperChanged.event;
  readonly onDidChangePackages = this.packagesChanged.event;
  readonly onLogLines = this.logLines.event;

  private readonly states = new Map<string, FolderState>();
  /** By path. Each state replaces the one before, so that none is missed which still counts. */
  private readonly pace = new Pace<string>((path) => {
    const folder = this.folders.find((folder) => folder.uri.fsPath === path);
    if (folder) {
      this.stateChanged.fire(folder);
    }
  });
  private readonly crashes = new Crashes();
  private readonly progress = new Map<string, (value: ProgressValue) => void>();
  private life: Promise<Life> | undefined;
  /** The client of that life: a helper that goes down says more, of which nothing is to be believed. */
  private client: LanguageClient | undefined;
  private readonly told = new Set<string>();
  private stopped = false;

  constructor(private readonly context: vscode.ExtensionContext) {
    this.unfinished = new Unfinished(path.join(context.globalStorageUri.fsPath, "unfinished"), (text) => {
      this.log.warn(text);
    });
    this.gpus = new GpuWatch(this);
    context.subscriptions.push(
      this.gpus,
      this.pace,
      this.log,
      this.stateChanged,
      this.helperChanged,
      this.packagesChanged,
      this.logLines,
      vscode.workspace.onDidGrantWorkspaceTrust(() => void this.tellTrust()),
      vscode.workspace.onDidChangeWorkspaceFolders(({ removed }) => {
        for (const folder of removed) {
          this.states.delete(folder.uri.fsPath);
        }
        this.startSoon();
        this.helperChanged.fire();
      }),
      vscode.workspace.onDidChangeConfiguration((event) => {
        if (event.affectsConfiguration("gpubay.helper.path")) {
          void this.restart();
        }
      }),
    );
  }

  get folders(): readonly vscode.WorkspaceFolder[] {
    return (vscode.workspace.workspaceFolders ?? []).filter((folder) => folder.uri.scheme === "file");
  }

  state(folder: vscode.WorkspaceFolder): FolderState | undefined {
    return this.states.get(folder.uri.fsPath);
  }

  /** After the activation, so that it costs the editor's start nothing. */
  startSoon(): void {
    if (this.folders.length > 0) {
      setImmediate(() => {
        this.connect().catch((error: unknown) => this.tellOnce(error));
      });
    }
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.unfinished.leave();
    await this.leave();
  }

  /** Another program is to be the helper, or the same once more. */
  async restart(): Promise<void> {
    this.crashes.forget();
    await this.leave();
    this.startSoon();
  }

  helperPath(): Promise<string> {
    // The helper itself refuses; what runs in a terminal would not know.
    return vscode.workspace.isTrusted ? this.program() : Promise.reject(new WorkError(untrusted()));
  }

  private program(): Promise<string> {
    const setting = vscode.workspace.getConfiguration("gpubay").inspect("helper.path");
    return locate(setting, this.context.asAbsolutePath("bin/gpubay"));
  }

  async request<M extends Method>(method: M, params: Params<M>, token?: vscode.CancellationToken): Promise<Answer<M>> {
    const { client } = await this.connect();
    try {
      // A token that is given and undefined would be taken for a second parameter.
      return await (token
        ? client.sendRequest<Answer<M>>(method, params, token)
        : client.sendRequest<Answer<M>>(method, params));
    } catch (error) {
      throw new WorkError(asFailure(error));
    }
  }

  runWork<M extends WorkMethod>(
    folder: vscode.WorkspaceFolder,
    method: M,
    params: WorkParams<M>,
    title: string,
  ): Promise<Answer<M> | undefined> {
    const work = { method, title, consent: params.consent === true };
    return workWithQuestions(this, folder, work, (now, allow, consent) =>
      withWork(title, (report, cancelled) => {
        const workDoneToken = randomUUID();
        this.progress.set(workDoneToken, report);
        // The answer comes when everything is cleaned up: the request itself is not taken back.
        cancelled.onCancellationRequested(() => {
          this.cancelWork(workDoneToken);
        });
        const whole = { ...params, folder: folder.uri.fsPath, workDoneToken, allow, consent } as unknown as Params<M>;
        return this.request(now as M, whole).finally(() => {
          this.progress.delete(workDoneToken);
        });
      }),
    );
  }

  /** Work of this window's helper, whoever asked for it. */
  cancelWork(token: string): void {
    const cancel = async () => {
      const life = await this.life;
      await life?.client.sendNotification("window/workDoneProgress/cancel", { token });
    };
    cancel().catch((error: unknown) => {
      this.log.warn(String(error));
    });
  }

  pickFolder(): Promise<vscode.WorkspaceFolder | undefined> {
    return pickFolder(this);
  }

  showFailure(error: unknown, about: { folder?: vscode.WorkspaceFolder; retry?: () => unknown } = {}): Promise<void> {
    return showFailure(this, asFailure(error), about);
  }

  /** The one life that there is, begun where there is none. */
  private connect(): Promise<Life> {
    if (this.stopped) {
      return Promise.reject(new WorkError(failure("going_down", l10n.t("The window is closing."))));
    }
    if (!this.life) {
      this.tellHelper({ status: "starting" });
      const life = this.begin();
      this.life = life;
      life.then(
        ({ capabilities }) => {
          this.noteInside(capabilities);
          this.tellHelper({ status: "running" });
        },
        (error: unknown) => {
          this.over(life, asFailure(error));
        },
      );
    }
    return this.life;
  }

  private async begin(): Promise<Life> {
    const program = await this.program();
    const { version } = this.context.extension.packageJSON as { version: string };
    // The library behind it is most of the bundle: it is loaded when it is needed, not when the window opens.
    const { begin } = await import("./helper/client");
    return begin(
      program,
      version,
      this.log,
      (client) => {
        this.listen(client);
      },
      (why) => {
        this.crashed(why);
      },
    );
  }

  private noteInside(capabilities: Capabilities | undefined): void {
    const inside = capabilities?.inside === true;
    if (inside !== this.inside) {
      this.inside = inside;
      void vscode.commands.executeCommand("setContext", "gpubay.inside", inside);
    }
  }

  private listen(client: LanguageClient): void {
    this.client = client;
    client.onNotification("gpubay/state", (state: FolderState) => {
      const folder = this.folders.find((folder) => folder.uri.fsPath === state.folder);
      if (folder && this.client === client) {
        // The first state may be told before the start is done.
        this.noteInside(capabilitiesOf(client));
        if (!this.inside) {
          this.unfinished.note(state.folder, state.work?.method);
        }
        this.states.set(state.folder, state);
        this.pace.tell(state.folder);
      }
    });
    client.onNotification("gpubay/gpus", (params: GpusParams) => {
      if (this.client === client) {
        this.gpus.take(params);
      }
    });
    // Of a bug of its own, which it has survived. The library would show it without a button.
    client.onNotification("window/showMessage", ({ message }: { message: string }) => {
      void this.showFailure(
        new WorkError(
          failure("internal", message.replaceAll("\ufffd", " "), l10n.t("Please report it, with the log.")),
        ),
      );
    });
    client.onNotification("gpubay/log", (params: LogParams) => {
      writeLog(this, params);
    });
    client.onNotification("gpubay/logLines", (params: LogLinesParams) => {
      this.logLines.fire(params);
    });
    client.onNotification("gpubay/packages", (params: PackagesParams) => {
      if (this.client === client) {
        this.packagesChanged.fire(params);
      }
    });
    client.onNotification("$/progress", ({ token, value }: { token: string; value: ProgressValue }) => {
      this.progress.get(token)?.(value);
    });
  }

  /** What is known came from the helper and goes with it; the next one looks for itself. */
  private crashed(why: Failure): void {
    const again = this.crashes.mayRestart(Date.now());
    this.log.error(`${why.message}${why.hint ? `: ${why.hint}` : ""}`);
    this.over(this.life, why);
    if (again) {
      this.startSoon();
    } else {
      void this.showFailure(new WorkError(why), { retry: () => this.restart() });
    }
  }

  /** A helper that cannot start is told of when the window opens; after that it is in the status bar. */
  private async tellOnce(error: unknown): Promise<void> {
    const { code } = asFailure(error);
    if (!this.told.has(code)) {
      this.told.add(code);
      await this.showFailure(error, { retry: () => this.restart() });
    }
  }

  private over(life: Promise<Life> | undefined, why: Failure): void {
    if (this.life !== life) {
      return;
    }
    this.life = undefined;
    this.client = undefined;
    this.forget();
    this.tellHelper({ status: "down", failure: why });
  }

  private async leave(): Promise<void> {
    const life = this.life;
    this.life = undefined;
    this.client = undefined;
    this.forget();
    this.tellHelper({ status: "off" });
    try {
      await (await life)?.client.dispose(2000);
    } catch (error) {
      this.log.debug(`while saying goodbye to the helper: ${String(error)}`);
    }
  }

  private forget(): void {
    this.states.clear();
    for (const folder of this.folders) {
      this.stateChanged.fire(folder);
    }
  }

  private tellHelper(state: HelperState): void {
    this.helper = state;
    this.helperChanged.fire();
  }

  private async tellTrust(): Promise<void> {
    const life = await this.life?.catch(() => undefined);
    await life?.client.sendNotification("gpubay/trust", { trusted: true });
  }
}
