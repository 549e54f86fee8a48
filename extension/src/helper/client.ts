// The helper's process and the connection to it: one for all folders of the window.

import { type ChildProcess, spawn } from "node:child_process";
import * as vscode from "vscode";
import {
  CloseAction,
  ErrorAction,
  LanguageClient,
  State,
  type LanguageClientOptions,
  type ServerOptions,
} from "vscode-languageclient/node";
import { WorkError, asFailure, failure } from "../failure";
import { l10n } from "../l10n";
import { PROTOCOL, type Capabilities, type Failure, type Options } from "../protocol";
import { capabilitiesOf } from "./capabilities";

/** It answers within milliseconds; what is silent for so long is something else. */
const PATIENCE_MS = 10_000;

/** One life of the helper. */
export interface Life {
  client: LanguageClient;
  capabilities: Capabilities;
}

/** What came to an end without being asked to tells why. */
export type Ended = (why: Failure) => void;

/**
 * Its own messages would come without a button, and some of them are no news to anybody: what fails is told by who asked.
 */
class QuietClient extends LanguageClient {
  override error(message: string, data?: unknown, _show?: boolean | "force"): void {
    super.error(message, data, false);
  }

  // Called by itself after a failed start, with nobody to hear that there is nothing to stop.
  override async stop(timeout?: number): Promise<void> {
    await super.stop(timeout).catch((error: unknown) => {
      this.debug(String(error), undefined, false);
    });
  }
}

/** Starts the helper and says hello. Throws a `WorkError`. */
export async function begin(
  program: string,
  version: string,
  log: vscode.LogOutputChannel,
  register: (client: LanguageClient) => void,
  gone: Ended,
): Promise<Life> {
  let refused: Failure | undefined;
  let lastWords = "";
  let running = false;
  let leaving = false;
  let child: ChildProcess | undefined;

  const server: ServerOptions = () =>
    new Promise((resolve, reject) => {
      const started = spawn(program, ["serve"], { stdio: "pipe" });
      started.once("error", reject);
      started.once("spawn", () => {
        child = started;
        // A helper that has gone is noticed at its output's end; writing to it must not be an error of its own.
        started.stdin.on("error", (error) => {
          log.debug(`helper: ${error.message}`);
        });
        resolve(started);
      });
      started.stderr.on("data", (data: Buffer) => {
        lastWords = (lastWords + data.toString()).slice(-2000);
      });
    });

  const options: LanguageClientOptions = {
    documentSelector: [
      { scheme: "file", pattern: "**/gpubay.toml" },
      { scheme: "file", language: "dockerfile" },
    ],
    outputChannel: log,
    initializationOptions: (): Options => ({
      version,
      protocol: PROTOCOL,
      trusted: vscode.workspace.isTrusted,
    }),
    initializationFailedHandler: (error: unknown) => {
      refused = asFailure(error);
      return false;
    },
    errorHandler: {
      error: () => ({ action: ErrorAction.Continue, handled: true }),
      closed: () => {
        if (running && !leaving) {
          gone(crashed(lastWords));
        }
        running = false;
        return { action: CloseAction.DoNotRestart, handled: true };
      },
    },
    // Diagnostics of a folder go with the helper that told them.
    diagnosticCollectionName: "gpubay",
  };

  const client = new QuietClient("gpubay", "GPU Bay", server, options);
  client.onDidChangeState(({ newState }) => {
    leaving ||= newState === State.Stopped;
  });
  register(client);
  const silent = setTimeout(() => {
    lastWords = l10n.t("it does not answer");
    child?.kill("SIGKILL");
  }, PATIENCE_MS);
  try {
    const starting = client.start();
    // Where the helper ends before it has answered, `starting` says nothing, and the promise behind it fails unheard.
    client.start().catch(() => undefined);
    await starting;
    if (!client.initializeResult) {
      throw new Error(l10n.t("it does not answer"));
    }
  } catch (error) {
    // The one that refused waits for another message, as long as the window is open.
    await ended(child);
    if (refused?.code === "other_version") {
      throw new WorkError(refused);
    }
    throw new WorkError(notStarted(program, error, lastWords));
  } finally {
    clearTimeout(silent);
  }
  const capabilities = capabilitiesOf(client);
  if (capabilities?.protocol !== PROTOCOL) {
    leaving = true;
    await client.stop().catch(() => undefined);
    throw new WorkError(otherVersion(program, client.initializeResult.serverInfo?.version));
  }
  running = true;
  return { client, capabilities };
}

/** Its last words have been read; one that does not speak our language does not stay. */
async function ended(child: ChildProcess | undefined): Promise<void> {
  if (child) {
    const closed = new Promise<void>((resolve) => {
      child.once("close", () => {
        resolve();
      });
    });
    child.kill();
    // After the end of its output there is no `close` to come.
    if (child.exitCode === null && child.signalCode === null) {
      await closed;
    }
  }
}

function crashed(lastWords: string): Failure {
  return failure("helper_crashed", l10n.t("The helper ended unexpectedly"), lastLine(lastWords));
}

function notStarted(program: string, error: unknown, lastWords: string): Failure {
  const why = lastLine(lastWords) ?? asFailure(error).message;
  return failure("helper_failed", l10n.t("The helper {0} does not start: {1}", program, why));
}

/** A helper so old that it does not refuse. */
function otherVersion(program: string, theirs: string | undefined): Failure {
  return failure(
    "other_version",
    l10n.t("The helper {0} ({1}) speaks another version of the protocol than this extension", program, theirs ?? "?"),
    l10n.t("Reload the window after an update; clear gpubay.helper.path if it names another helper."),
  );
}

function lastLine(text: string): string | null {
  return text.trim().split("\n").at(-1) || null;
}
