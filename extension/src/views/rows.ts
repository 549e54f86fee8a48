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
import type { FolderState, GpuReport, GpusReport, OfferedGpu, Phase, Row } from "../protocol";
import { causeText, lossLines } from "../gpus/lostText";
import { working } from "../status/statusText";
import { plain, short } from "../text";

export type Kind = "folder" | "container" | "job" | "gpus" | "gpu" | "note";

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
  expands: boolean;
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

/**
 * The dev container, its drift, its jobs (the newest first), and where its GPUs are. `inside`: of a window that is in it, from which
 * nothing is started, stopped or made anew.
 */
export function childrenOf(state: FolderState, inside = false): ViewRow[] {
  const { container, jobs, folder, problem, work, drift } = state;
  const rows: ViewRow[] = [];
  if (problem) {
    // What stands below the first line is an excerpt of a file, or what a step printed.
    const said = sentence({ ...problem, hint: null }, folder);
    const tooltip = [sentence(problem, folder), ...problem.message.split("\n").slice(1)].join("\n");
    rows.push(row("note", `problem:${folder}`, short(said), { tooltip, icon: "warning" }));
  }
  if (work && !container) {
    rows.push(row("note", `work:${folder}`, working(work.method), { icon: "loading~spin" }));
  }
  if (state.gpu?.lost) {
    const { lost } = state.gpu;
    const label = l10n.t("GPUs lost: {0}", causeText(lost.cause));
    rows.push(row("note", `lost:${folder}`, label, { tooltip: lossLines(lost), icon: "error" }));
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
  if (state.phase !== "untrusted") {
    rows.push(row("gpus", `gpus:${folder}`, l10n.t("GPUs"), { icon: "circuit-board", expands: true }));
  }
  return rows;
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
