// What the view of GPU Bay shows of a folder. Knows nothing of the editor.

import { notOnDisk, sentence } from "../failure";
import { l10n } from "../l10n";
import {
  figures,
  gpuName,
  gpuTitle,
  holderLine,
  holdersText,
  idleLeases,
  leaseText,
  memoryText,
  numberOf,
  placeOf,
} from "../gpus/figures";
import type { Failure, FolderState, GpuReport, GpusReport, OfferedGpu, Phase, Row } from "../protocol";
import { causeText, lossLines } from "../gpus/lostText";
import type { HelperState } from "../session";
import { working } from "../status/statusText";
import { plain, short } from "../text";

/** `action`: something that can be done, and is done by a click. */
export type Kind = "folder" | "container" | "job" | "gpus" | "gpu" | "note" | "action";

/** One row; `context` says to the menus what can be done with it. */
export interface ViewRow {
  kind: Kind;
  /** Stays the same while the row is about the same thing. */
  id: string;
  label: string;
  description: string;
  tooltip: string;
  /** The name of a theme icon. */
  icon: string;
  context: string;
  /** Of a job. */
  job?: string;
  /** What a click does, about the row's folder. */
  command?: string;
  expands: boolean;
  /** Shown without what is below it, until its user wants that. */
  folded: boolean;
}

function row(kind: Kind, id: string, label: string, more: Partial<ViewRow>): ViewRow {
  return {
    kind,
    id,
    label: plain(label),
    description: "",
    tooltip: label,
    icon: "circle-outline",
    context: kind,
    expands: false,
    folded: false,
    ...more,
  };
}

export function folderRow(name: string, path: string, state: FolderState | undefined): ViewRow {
  return row("folder", `folder:${path}`, name, {
    description: state ? phaseText(state) : l10n.t("not known yet"),
    tooltip: path,
    icon: "root-folder",
    context: folderContext(state?.phase),
    expands: true,
  });
}

/** One that no container can mount, among others. */
export function virtualRow(name: string, address: string): ViewRow {
  return row("folder", `folder:${address}`, name, {
    description: l10n.t("on no disk"),
    tooltip: sentence(notOnDisk({ name })),
    icon: "cloud",
    context: "virtual",
  });
}

/** What is not known, or not trusted, and what has to be mended first, is for nothing but the log and the doctor. */
function folderContext(phase: Phase | undefined): string {
  switch (phase) {
    case "unconfigured":
    case "stopped":
    case "problem":
      return `folder.${phase}`;
    case "running":
    case "drifted":
      return "folder.running";
    default:
      return "folder";
  }
}

export function phaseText({ phase, work, container, gpu }: FolderState): string {
  if (work) {
    return working(work.method);
  }
  switch (phase) {
    case "looking":
      return l10n.t("looking…");
    case "untrusted":
      return l10n.t("not trusted");
    case "unconfigured":
      return l10n.t("nothing to build");
    case "stopped":
      return container ? l10n.t("stopped") : l10n.t("not started");
    case "running":
    case "drifted":
      if (gpu?.lost) {
        return l10n.t("running, GPUs lost");
      }
      return phase === "running" ? l10n.t("running") : l10n.t("running, changed since");
    case "problem":
      return l10n.t("problem");
  }
}

/** Below a folder of which nothing is known: why not. */
export function unknownRow(folder: string, helper: HelperState): ViewRow {
  if (helper.status === "down") {
    return row("note", `helper:${folder}`, short(sentence({ ...helper.failure, hint: null })), {
      tooltip: sentence(helper.failure),
      icon: "error",
      command: "gpubay.showProblem",
    });
  }
  return row("note", `looking:${folder}`, l10n.t("looking…"), { icon: "loading~spin", command: "gpubay.showLog" });
}

/** What the window is for, as long as only the row itself can say it. */
export interface Around {
  /** It is in the container: nothing is started, stopped or made anew from it. */
  inside?: boolean;
  /** It has several folders: of one that is not worked with, the GPUs are mostly those of another, too. */
  several?: boolean;
}

/** The dev container or how to come by one, its drift, its jobs (the newest first), and where its GPUs are. */
export function childrenOf(state: FolderState, { inside = false, several = false }: Around = {}): ViewRow[] {
  const { container, jobs, folder, problem, work, drift, phase } = state;
  if (phase === "untrusted") {
    return [];
  }
  const rows: ViewRow[] = [];
  if (problem) {
    // What stands below the first line is an excerpt of a file, or what a step printed.
    const said = sentence({ ...problem, hint: null }, folder);
    const tooltip = [sentence(problem, folder), ...problem.message.split("\n").slice(1)].join("\n");
    rows.push(
      row("note", `problem:${folder}`, short(said), { tooltip, icon: "warning", command: "gpubay.showProblem" }),
    );
  }
  if (work && !container) {
    rows.push(row("note", `work:${folder}`, working(work.method), { icon: "loading~spin", command: "gpubay.showLog" }));
  } else if (!container) {
    rows.push(...beginning(folder, phase, several));
  }
  if (state.gpu?.lost) {
    const { lost } = state.gpu;
    const label = l10n.t("GPUs lost: {0}", causeText(lost.cause));
    rows.push(
      row("note", `lost:${folder}`, label, { tooltip: lossLines(lost), icon: "error", command: "gpubay.showProblem" }),
    );
  }
  if (container) {
    const runs = container.state === "running";
    rows.push(
      // The side bar is narrow: the engine's name for it would leave no room for what it does.
      row("container", `container:${folder}`, l10n.t("Container"), {
        description: [gpuText(state), runs || work ? phaseText(state) : restsText(container.state)]
          .filter((part) => part !== "")
          .join(" · "),
        tooltip: [container.name, ...drift.map(({ text }) => text)].join("\n"),
        icon: runs ? "vm-running" : "vm-outline",
        context: inside ? "container.inside" : containerContext(container.state, drift.length > 0),
      }),
    );
  }
  rows.push(...[...jobs].reverse().map((job) => jobRow(folder, job)));
  if (phase !== "looking") {
    const folded = several && !container && jobs.length === 0;
    // The editor keeps what is folded by the id alone.
    const id = folded ? `folded-gpus:${folder}` : `gpus:${folder}`;
    rows.push(row("gpus", id, l10n.t("GPUs"), { icon: "circuit-board", expands: true, folded }));
  }
  return rows;
}

/** Where there is no container: what makes one. */
function beginning(folder: string, phase: Phase, several: boolean): ViewRow[] {
  switch (phase) {
    case "looking":
      return [
        row("note", `looking:${folder}`, l10n.t("looking…"), { icon: "loading~spin", command: "gpubay.showLog" }),
      ];
    case "unconfigured":
      return [
        row("action", `begin:${folder}`, l10n.t("Initialize…"), {
          // Of several folders, the row above says it.
          description: several ? "" : l10n.t("nothing to build"),
          tooltip: l10n.t("The folder has nothing to build a container from. A click offers to write it."),
          icon: "new-file",
          command: "gpubay.initialize",
        }),
      ];
    case "stopped":
      return [
        row("action", `begin:${folder}`, l10n.t("Start GPU Container"), {
          tooltip: l10n.t("There is no container yet. A click builds and starts one."),
          icon: "play",
          command: "gpubay.start",
        }),
      ];
    default:
      return [];
  }
}

/** By the engine's word for its state. One that is paused can be ended, and goes on with nothing of ours. */
function containerContext(state: string, drifted: boolean): string {
  if (state === "running") {
    return drifted ? "container.drifted" : "container.running";
  }
  return state === "paused" ? "container.paused" : "container.stopped";
}

/** Of one that does not run, by the engine's word for it. */
function restsText(state: string): string {
  switch (state) {
    case "created":
    case "exited":
      return l10n.t("stopped");
    case "paused":
      return l10n.t("paused");
    default:
      return state;
  }
}

function gpuText({ gpu }: FolderState): string {
  if (!gpu) {
    return "";
  }
  const indices = gpu.devices.map(numberOf);
  return indices.length === 0 ? "CPU" : `GPU ${indices.join(", ")}`;
}

function jobRow(folder: string, job: Row): ViewRow {
  const waits = job.state === "waiting";
  const runs = waits || job.state === "running" || job.state === "paused";
  const failed = !runs && job.exit_code !== null && job.exit_code !== 0;
  const lost = runs ? job.lost_gpus : null;
  const end = job.exit_code === null ? job.state : l10n.t("ended with {0}", job.exit_code);
  const name = job.job ?? job.name;
  return row("job", `job:${folder}:${job.id}`, name, {
    description: lost
      ? l10n.t("running, GPUs lost")
      : runs
        ? waits
          ? l10n.t("waits for GPUs")
          : job.state === "paused"
            ? l10n.t("paused")
            : l10n.t("running")
        : end,
    tooltip: [name, (job.command ?? []).join(" "), job.gpus && `GPU: ${job.gpus}`, lost && lossLines(lost)]
      .filter(Boolean)
      .join("\n"),
    icon: lost ? "warning" : waits ? "clock" : runs ? "sync" : failed ? "error" : "pass",
    context: runs ? "job.running" : "job.ended",
    job: name,
  });
}

/** Why the GPUs are not known; nothing where a row above says just that. */
export function unknownGpus(folder: string, failure: Failure, state: FolderState | undefined): ViewRow[] {
  if (state?.problem?.message === failure.message) {
    return [];
  }
  const tooltip = sentence(failure, folder);
  return [
    row("note", `nogpu:${folder}`, short(sentence({ ...failure, hint: null }, folder)), { tooltip, icon: "info" }),
  ];
}

export function gpuRows(folder: string, report: GpusReport, now: GpuReport | null): ViewRow[] {
  const { devices, reason, complete } = report;
  const rows = devices.map((gpu) => row("gpu", `gpu:${folder}:${gpu.select}`, gpuTitle(gpu), gpuMore(gpu, now)));
  if (rows.length === 0) {
    rows.push(row("note", `nogpu:${folder}`, short(reason), { tooltip: reason, icon: "info" }));
  } else if (!complete) {
    rows.push(row("note", `moregpus:${folder}`, l10n.t("There may be more"), { tooltip: reason, icon: "info" }));
  }
  return rows;
}

function gpuMore(gpu: OfferedGpu, now: GpuReport | null): Partial<ViewRow> {
  const place = placeOf(gpu, now);
  const here = place >= 0 ? l10n.t("cuda:{0} inside", place) : "";
  const trouble = gpu.trouble === null ? "" : plain(gpu.trouble);
  const { temperature, power, power_limit } = gpu;
  const heat = [
    temperature === null ? "" : `${String(temperature)} °C`,
    power === null ? "" : power_limit === null ? `${String(power)} W` : `${String(power)} / ${String(power_limit)} W`,
  ];
  const given = (parts: string[]) => parts.filter((part) => part !== "");
  const memory = gpu.memory && trouble === "" ? memoryText(gpu.memory) : "";
  const use = gpu.utilization !== null && trouble === "" ? `${String(gpu.utilization)} %` : "";
  const first = given([memory, use, short(trouble, 60), holdersText(gpu, 1)]);
  return {
    // The side bar is narrow: what changes comes first, and what never does only where there is nothing else.
    description: (first.length > 0 ? first : [gpuName(gpu)]).join(" · "),
    tooltip: given([
      gpuName(gpu),
      here,
      trouble,
      figures(gpu),
      given(heat).join(" · "),
      ...gpu.holders.map(holderLine),
      ...idleLeases(gpu).map(leaseText),
      gpu.uuid ?? "",
      gpu.cdi ?? "",
    ]).join("\n"),
    icon: gpu.trouble === null ? (place >= 0 ? "circuit-board" : "chip") : "warning",
  };
}
