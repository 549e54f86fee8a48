// What fails, as the helper tells it and as this side finds it out; and what can be done about it.

import { l10n } from "./l10n";
import type { Failure } from "./protocol";
import { capital, ended, short } from "./text";

/** A failed request. */
export class WorkError extends Error {
  constructor(readonly failure: Failure) {
    super(failure.message);
    this.name = "WorkError";
  }
}

/** Nothing is done in a workspace that the user does not trust. */
export function untrusted(): Failure {
  return failure(
    "untrusted",
    l10n.t("The workspace is not trusted: nothing is contacted, built or started."),
    l10n.t("Trust it first."),
  );
}

/** A folder among others, which may be on a disk. */
export function notOnDisk({ name }: { readonly name: string }): Failure {
  return failure(
    "not_on_disk",
    l10n.t("“{0}” is on no disk that a container could mount", name),
    l10n.t("Clone the repository and open the clone."),
  );
}

export function failure(code: string, message: string, hint: string | null = null): Failure {
  return { code, message, hint, place: null, powers: [], candidates: [] };
}

// Codes of JSON-RPC and LSP.
const CANCELLED = -32800;
const CONNECTION_GONE = [-32097, -32099, -32096];

/** Whatever was thrown, as a failure. */
export function asFailure(error: unknown): Failure {
  if (error instanceof WorkError) {
    return error.failure;
  }
  if (typeof error === "object" && error !== null) {
    const { code, data, message } = error as { code?: unknown; data?: unknown; message?: unknown };
    if (isFailure(data)) {
      return data;
    }
    if (code === CANCELLED) {
      return failure("cancelled", l10n.t("Cancelled."));
    }
    if (typeof code === "number" && CONNECTION_GONE.includes(code)) {
      return helperGone();
    }
    if (typeof message === "string") {
      return failure("internal", message);
    }
  }
  return failure("internal", String(error));
}

/** The helper ended while something was asked. */
export function helperGone(): Failure {
  return failure(
    "helper_gone",
    l10n.t("The helper ended while it was working on this."),
    l10n.t("Containers go on running. Try it again."),
  );
}

function isFailure(data: unknown): data is Failure {
  const { code, message } = (data ?? {}) as { code?: unknown; message?: unknown };
  return typeof code === "string" && typeof message === "string";
}

/**
 * Its first line with the next step; an excerpt of a file stands only in the log. A path that it begins with is told from
 * `folder`.
 */
export function sentence(failure: Failure, folder?: string): string {
  // The helper refuses, too, and in English.
  const { code, message, hint } = l10n.foreign && failure.code === "untrusted" ? untrusted() : failure;
  const [first = "", ...rest] = message.split("\n");
  const line = folder === undefined ? first : fromFolder(first, folder);
  const said = ended(code === "build_step_failed" ? withReason(line, rest) : line);
  const next = hint === null ? undefined : l10n.foreign ? (nextStep(code) ?? inEditor(hint)) : inEditor(hint);
  const head = l10n.foreign ? headline(code) : undefined;
  const whole = next === undefined ? said : `${said} ${next}`;
  return head === undefined ? capital(whole) : `${head}: ${capital(whole)}`;
}

/** In the editor a folder goes by its name. */
function fromFolder(line: string, folder: string): string {
  if (line.startsWith(`${folder} `)) {
    return `“${folder.slice(folder.lastIndexOf("/") + 1)}”${line.slice(folder.length)}`;
  }
  return line.startsWith(`${folder}/`) ? line.slice(folder.length + 1) : line;
}

/** Below the line that failed stands what it printed last, and the last of that is mostly why. */
function withReason(line: string, output: readonly string[]): string {
  const reason = output.findLast((said) => said.trim() !== "");
  return reason === undefined ? line : `${line}: ${short(reason, 120)}`;
}

/** What has happened, in the editor's language: what the helper says of it, in English, is the detail. */
function headline(code: string): string | undefined {
  switch (code) {
    case "build_step_failed":
      return l10n.t("A step of the build has failed");
    case "build_failed":
      return l10n.t("The build has failed");
    case "dockerfile_syntax":
      return l10n.t("The Dockerfile has a mistake");
    case "base_image":
      return l10n.t("The base image could not be pulled");
    case "disk_full":
      return l10n.t("The disk is full");
    case "no_engine":
    case "engine_unreachable":
      return l10n.t("The container engine cannot be reached");
    case "engine_stopped":
    case "engine_lost":
      return l10n.t("The container engine has gone away");
    case "engine_permission":
      return l10n.t("Your user may not use the container engine");
    case "gpu_unknown":
      return l10n.t("There is no such GPU here");
    case "gpu_none":
    case "gpu_required":
      return l10n.t("There is no GPU to be had");
    case "gpu_too_few":
    case "gpu_too_many":
      return l10n.t("There are fewer GPUs than were asked for");
    case "gpu_broken":
    case "gpu_driver_mismatch":
    case "gpu_injection":
    case "gpu_no_permission":
    case "gpu_trouble":
      return l10n.t("Something is wrong with the GPUs");
    case "unknown_key":
    case "unknown_choice":
    case "wrong_type":
    case "config_syntax":
      return l10n.t("gpubay.toml has a mistake");
    case "no_dockerfile":
      return l10n.t("There is nothing to build from");
    case "not_running":
      return l10n.t("The container does not run");
    case "work_running":
      return l10n.t("Something of yours still runs");
    case "busy":
      return l10n.t("Something else is under way");
    case "ticket_lost":
      return l10n.t("The wait for GPUs was ended");
    case "internal":
      return l10n.t("This is a mistake of GPU Bay");
    default:
      return undefined;
  }
}

/** In the editor's language, which the helper does not speak: less than it would say, where the code tells enough. */
function nextStep(code: string): string | undefined {
  switch (code) {
    case "build_step_failed":
    case "dockerfile_syntax":
      return l10n.t("Correct that instruction or what it needs, and try again.");
    case "base_image":
      return l10n.t("Check the image's name, or log in to its registry.");
    case "disk_full":
      return l10n.t("Free some space on the disk, and try again.");
    case "no_engine":
    case "engine_unreachable":
    case "engine_stopped":
    case "engine_lost":
      return l10n.t("Start the container engine, or name another one; “Doctor” says what is in the way.");
    case "engine_permission":
      return l10n.t("Let your user use the engine; “Doctor” says how.");
    case "gpu_unknown":
    case "gpu_required":
      return l10n.t("Select other GPUs.");
    case "gpu_broken":
    case "gpu_injection":
      return l10n.t("“Doctor” says what is wrong with the GPUs.");
    case "unknown_key":
    case "unknown_choice":
    case "wrong_type":
    case "config_syntax":
      return l10n.t("Correct gpubay.toml.");
    case "no_dockerfile":
      return l10n.t("“Initialize Workspace” writes what is missing.");
    case "not_running":
      return l10n.t("Start the GPU container first.");
    case "work_running":
      return l10n.t("Wait for its end, or end it first.");
    case "busy":
      return l10n.t("Wait for its end, or cancel it.");
    case "untrusted":
      return l10n.t("Trust it first.");
    case "inside":
      return l10n.t("Do that in the window of the folder outside.");
    case "internal":
      return l10n.t("Please report it, with the log.");
    default:
      return undefined;
  }
}

/** A hint names commands of a terminal. Those that are in the palette, too, are named as they are there. */
function inEditor(hint: string): string {
  const commands: Record<string, string> = {
    up: l10n.t("Start GPU Container"),
    "up --recreate": l10n.t("Recreate…"),
    stop: l10n.t("Stop"),
    down: l10n.t("Remove Containers…"),
    sync: l10n.t("Refresh Completion"),
    init: l10n.t("Initialize Workspace"),
    doctor: l10n.t("Doctor"),
    gpus: l10n.t("Select GPUs"),
    shell: l10n.t("Open Shell"),
  };
  return hint.replace(/`gpubay ([a-z]+(?: --recreate)?)`/g, (whole, command: string) => {
    const title = Object.hasOwn(commands, command) ? commands[command] : undefined;
    return title === undefined ? whole : `«${title}»`;
  });
}

export type Button =
  | "retry"
  | "showLog"
  | "openFile"
  | "initialize"
  | "doctor"
  | "trust"
  | "settings"
  | "extension"
  | "reload"
  | "start"
  | "cancelWork"
  | "openFolder";

/** Nothing is broken: something is to be done first, or was ended by its user. It is told quietly, and the log knows no more. */
const NOTHING_BROKEN = ["busy", "inside", "no_dockerfile", "no_folder", "not_running", "ticket_lost", "untrusted"];

export function isBroken({ code }: Failure): boolean {
  return !NOTHING_BROKEN.includes(code);
}

/** What cannot be done from a window that is in the container. */
const OUTSIDE: readonly Button[] = ["doctor", "initialize", "start"];

/** What to do next, the likeliest first. `inside`: the window is in the container. */
export function buttonsFor(failure: Failure, canRetry: boolean, inside = false): Button[] {
  const retry: Button[] = canRetry ? ["retry"] : [];
  const next = (): Button[] => {
    switch (failure.code) {
      case "no_dockerfile":
        return ["initialize", ...retry];
      // Without a button it would be cut after one line.
      case "inside":
        return ["showLog"];
      case "untrusted":
        return ["trust"];
      case "busy":
        return ["cancelWork", ...retry];
      case "not_running":
        return ["start"];
      case "helper_missing":
        return ["extension", ...retry];
      case "helper_setting":
      case "helper_not_executable":
      case "helper_failed":
        return ["settings", ...retry];
      case "other_version":
        return ["reload", "settings"];
      case "no_folder":
        return ["openFolder"];
      case "not_on_disk":
      case "outside_of_folders":
        return [];
      case "no_engine":
      case "engine_lost":
      case "engine_permission":
      case "engine_refused":
      case "engine_stopped":
      case "engine_too_old":
      case "engine_unreachable":
      case "gpu_broken":
      case "gpu_injection":
      case "gpu_required":
      case "gpu_unknown":
      case "disk_full":
        return [...retry, "doctor"];
      default:
        return retry;
    }
  };
  const place: Button[] = failure.place ? ["openFile"] : [];
  const log: Button[] = isBroken(failure) ? ["showLog"] : [];
  const buttons = [...place, ...next(), ...log];
  return inside ? buttons.filter((button) => !OUTSIDE.includes(button)) : buttons;
}

export function buttonText(button: Button): string {
  switch (button) {
    case "retry":
      return l10n.t("Retry");
    case "showLog":
      return l10n.t("Show Log");
    case "openFile":
      return l10n.t("Open File");
    case "initialize":
      return l10n.t("Initialize…");
    case "doctor":
      return l10n.t("Doctor");
    case "trust":
      return l10n.t("Manage Trust");
    case "settings":
      return l10n.t("Open Settings");
    case "extension":
      return l10n.t("Show Extension");
    case "reload":
      return l10n.t("Reload Window");
    case "start":
      return l10n.t("Start GPU Container");
    case "cancelWork":
      return l10n.t("Cancel It");
    case "openFolder":
      return l10n.t("Open Folder…");
  }
}
