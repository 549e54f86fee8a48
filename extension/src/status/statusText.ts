// What the status bar says of a folder. Knows nothing of the editor.

import { sentence } from "../failure";
import { l10n } from "../l10n";
import { driverText, inside, isFromInside, isOf, memoryOf, memoryText, numberOf, offeredAt } from "../gpus/figures";
import { LOST_GPUS, lossLines } from "../gpus/lostText";
import type { FolderState, GpuReport, GpusReport } from "../protocol";
import type { HelperState } from "../session";
import { plain, short } from "../text";

export interface StatusText {
  text: string;
  /** Plain text, in lines. */
  tooltip: string;
  look: "usual" | "warning" | "error";
  /** What a click does. */
  command: "gpubay.selectGpus" | "gpubay.start" | "gpubay.showProblem" | "gpubay.showLog" | "workbench.trust.manage";
}

/** `name` only where the window has several folders; `report` while the GPUs are watched. */
export function statusText(
  helper: HelperState,
  state: FolderState | undefined,
  name?: string,
  report?: GpusReport,
): StatusText {
  const of = (text: string) => (name === undefined ? text : `${text} (${plain(short(name, 24))})`);
  if (helper.status === "down") {
    return {
      text: "$(error) GPU Bay",
      tooltip: sentence(helper.failure),
      look: "error",
      command: "gpubay.showProblem",
    };
  }
  if (!state || state.phase === "looking") {
    return {
      text: "$(loading~spin) GPU Bay",
      tooltip: l10n.t("GPU Bay is looking…"),
      look: "usual",
      command: "gpubay.showLog",
    };
  }
  if (state.work) {
    const doing = working(state.work.method);
    return {
      text: of(`$(loading~spin) ${doing}`),
      tooltip: lines(doing, gpuLines(state.gpu, report)),
      look: "usual",
      command: "gpubay.showLog",
    };
  }
  switch (state.phase) {
    case "untrusted":
      return {
        text: of("$(shield) GPU Bay"),
        tooltip: l10n.t("The workspace is not trusted: nothing is contacted, built or started."),
        look: "usual",
        command: "workbench.trust.manage",
      };
    case "unconfigured":
      return {
        text: of("$(circuit-board) GPU Bay"),
        tooltip: l10n.t("The folder has nothing to build a container from. A click offers to write it."),
        look: "usual",
        command: "gpubay.start",
      };
    case "stopped": {
      const [text, tooltip] = state.container
        ? [l10n.t("GPU: stopped"), l10n.t("The container does not run. A click starts it.")]
        : [l10n.t("GPU: not started"), l10n.t("There is no container yet. A click builds and starts one.")];
      return {
        text: of(`$(circle-outline) ${text}`),
        tooltip: lines(tooltip, problemLines(state)),
        look: state.problem ? "warning" : "usual",
        command: "gpubay.start",
      };
    }
    case "problem":
      return {
        text: of("$(error) GPU Bay"),
        tooltip: state.problem ? sentence(state.problem, state.folder) : l10n.t("The container cannot be used."),
        look: "error",
        command: "gpubay.showProblem",
      };
    case "drifted":
    case "running": {
      if (state.gpu?.lost) {
        return {
          text: of(`$(error) ${l10n.t("GPUs lost")}`),
          tooltip: lines(lossLines(state.gpu.lost), problemLines(state)),
          look: "error",
          command: "gpubay.showProblem",
        };
      }
      const memory = memoryOf(state.gpu, report);
      const ill = report?.devices.some((gpu) => gpu.trouble !== null && isOf(gpu, state.gpu)) === true;
      const figure = memory && !ill ? ` · ${memoryText(memory)}` : "";
      return {
        text: of(`$(${ill ? "warning" : "circuit-board"}) ${gpus(state.gpu, report)}${figure}`),
        tooltip: lines(gpuLines(state.gpu, report), l10n.t("A click selects GPUs."), problemLines(state)),
        look: ill ? "warning" : "usual",
        command: "gpubay.selectGpus",
      };
    }
  }
}

/** What differs from the configuration, for the badge beside the item; `undefined`: nothing, or now is not the time. */
export function driftText(helper: HelperState, state: FolderState | undefined): string | undefined {
  if (helper.status !== "running" || state?.phase !== "drifted" || state.work) {
    return undefined;
  }
  // Lost GPUs are nobody's wish; the item itself says them.
  const changes = state.drift.filter(({ option }) => option !== LOST_GPUS).map(({ text }) => `• ${text}`);
  return lines(
    changes.length > 0 ? l10n.t("The configuration has changed since the container was made:") : "",
    ...changes,
    state.gpu?.lost ? lossLines(state.gpu.lost) : "",
    l10n.t("“Recreate…” makes it anew, and first says what would be lost."),
  );
}

/** `GPU 0, 1` as they are numbered outside, or `CPU`. */
export function gpus(gpu: GpuReport | null, report?: GpusReport): string {
  if (!gpu || gpu.injection === "none" || gpu.devices.length === 0) {
    return gpu && gpu.injection !== "none" && gpu.chosen !== "none" && gpu.chosen
      ? `GPU ${plain(short(gpu.chosen, 24))}`
      : "CPU";
  }
  const numbers = gpu.devices.map((device, place) =>
    numberOf({ ...device, index: offeredAt(place, gpu, report)?.index ?? device.index }),
  );
  return numbers.length > 4 ? l10n.t("{0} GPUs", numbers.length) : `GPU ${numbers.join(", ")}`;
}

function gpuLines(gpu: GpuReport | null, report?: GpusReport): string {
  if (!gpu) {
    return "";
  }
  return lines(
    gpu.devices.length === 0 ? noGpu(gpu) : "",
    ...inside(gpu, report),
    isFromInside(gpu)
      ? l10n.t("This window is in the container, and sees its GPUs only.")
      : l10n.t("Injection: {0} ({1})", gpu.injection, gpu.reason),
    l10n.t("Isolation: {0}", gpu.isolation),
    report ? driverText(report) : "",
    report?.problem ?? "",
  );
}

/** Why it says «CPU». */
function noGpu({ injection, chosen, asked }: GpuReport): string {
  return injection !== "none" || (chosen ?? asked) === "none"
    ? l10n.t("No GPU is selected: programs compute on the CPU.")
    : l10n.t("There is no GPU in the container: programs compute on the CPU.");
}

function problemLines({ problem, folder }: FolderState): string {
  return problem ? l10n.t("Failed last: {0}", sentence(problem, folder)) : "";
}

/** What is being done, by the request that asked for it. */
export function working(method: string): string {
  switch (method) {
    case "up":
      return l10n.t("Starting…");
    case "restart":
      return l10n.t("Restarting…");
    case "rebuild":
      return l10n.t("Rebuilding…");
    case "stop":
      return l10n.t("Stopping…");
    case "down":
      return l10n.t("Removing…");
    case "selectGpus":
      return l10n.t("Changing GPUs…");
    case "sync":
      return l10n.t("Refreshing completion…");
    case "run":
      return l10n.t("Starting a job…");
    case "init":
      return l10n.t("Writing files…");
    default:
      return l10n.t("Working…");
  }
}

function lines(...parts: string[]): string {
  return parts.filter((part) => part !== "").join("\n");
}
