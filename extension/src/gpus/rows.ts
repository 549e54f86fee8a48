// The rows of the GPU picker. Knows nothing of the editor.

import { l10n } from "../l10n";
import type { FolderState, GpuReport, GpusReport, OfferedGpu } from "../protocol";
import { plain, short } from "../text";
import { figures, gpuName, gpuTitle, holdersText, isFromInside, isOf, numberOf } from "./figures";

export type Row = {
  label: string;
  description?: string;
  detail?: string;
} & ({ kind: "separator" } | { kind: "mode" | "gpu"; select: string; picked: boolean });

export type Choice = Exclude<Row, { kind: "separator" }>;

/** Which GPUs may be taken at all, then one row for each. `now`: what the container has. */
export function rows(report: GpusReport, now: GpuReport | null): Row[] {
  // What the configuration wants counts as much as what was picked: who sees its own wish ticked need not pick it again.
  const chosen = (now?.chosen ?? now?.asked)?.replace(/^device=/, "").split(",") ?? [];
  const has = (now?.devices ?? []).map((device) => `GPU ${numberOf(device)}`).join(", ");
  const mode = (select: string, label: string, description: string): Choice => ({
    kind: "mode",
    select,
    label,
    description,
    picked: chosen.includes(select),
  });
  const every = isFromInside(report)
    ? l10n.t("every GPU of the container")
    : l10n.t("every GPU that the engine offers");
  const modes: Row[] = [
    mode(
      "auto",
      `$(sparkle) ${l10n.t("Automatic")}`,
      chosen.includes("auto") && has !== "" ? l10n.t("one free GPU, now {0}", has) : l10n.t("one free GPU"),
    ),
    mode("all", `$(layers) ${l10n.t("All")}`, every),
    mode("none", `$(circle-slash) ${l10n.t("None")}`, l10n.t("CPU only")),
  ];
  const byMode = modes.some((row) => row.kind === "mode" && row.picked);
  const gpus: Row[] = report.devices.map((gpu) => ({
    kind: "gpu",
    select: gpu.select,
    label: `$(${gpu.trouble === null ? "circuit-board" : "warning"}) ${gpuTitle(gpu)}`,
    description: [gpuName(gpu), figures(gpu)].filter((part) => part !== "").join("  "),
    detail: detail(gpu, report),
    picked: !byMode && (chosen.includes(gpu.select.replace(/^device=/, "")) || isOf(gpu, now)),
  }));
  const separator: Row[] = gpus.length > 0 ? [{ kind: "separator", label: "GPU" }] : [];
  return [...modes, ...separator, ...gpus];
}

/** Its trouble, or who is on it; what it is called where the driver tells neither. */
function detail(gpu: OfferedGpu, report: GpusReport): string | undefined {
  if (gpu.trouble !== null) {
    return plain(short(gpu.trouble, 160));
  }
  if (report.driver !== null && !isFromInside(report)) {
    return holdersText(gpu) || nobody(gpu);
  }
  const parts = [gpu.uuid, gpu.cdi].filter((part) => part !== null);
  return parts.length > 0 ? plain(parts.join(" · ")) : undefined;
}

/** Who is not seen may be there all the same: a container shows no processes of others. */
function nobody({ utilization }: OfferedGpu): string {
  return (utilization ?? 0) > 10 ? l10n.t("a process that cannot be seen") : l10n.t("nobody is on it");
}

/**
 * Of several rows together: a mode stands alone. What was picked last decides.
 */
export function settle<T extends Choice>(before: readonly T[], after: readonly T[]): T[] {
  // The rows are made anew while they are shown: what they stand for is compared.
  const known = new Set(before.map((row) => row.select));
  const fresh = after.filter((row) => !known.has(row.select));
  const modes = fresh.filter((row) => row.kind === "mode");
  // Several at once come from the box that ticks everything.
  const mode = modes.find((row) => row.select === "all") ?? modes[0];
  if (mode) {
    return [mode];
  }
  return fresh.some((row) => row.kind === "gpu") ? after.filter((row) => row.kind === "gpu") : [...after];
}

/** What is to be selected now. Who changed nothing wants nothing changed: what is automatic stays so, what is not there is not made. */
export function change(before: readonly Choice[], after: readonly Choice[]): string | undefined {
  const names = (of: readonly Choice[]) => of.map(({ select }) => select).join("\n");
  return names(before) === names(after) ? undefined : selection(after);
}

/** What `gpubay/selectGpus` takes; nothing picked is nothing wanted. */
export function selection(picked: readonly Choice[]): string {
  // A number alone is taken for a count, `1` is one GPU, whichever is free: so each device says that it is one, or all at once.
  const names = picked.map((row) => row.select.replace(/^device=/, "")).join(",");
  if (picked.some((row) => row.kind === "gpu")) {
    return `device=${names}`;
  }
  return names === "" ? "none" : names;
}

/** Whose GPUs, how they get in, and that a choice starts what does not run. */
export function heading(name: string, report: GpusReport | undefined, state: FolderState | undefined): string {
  const whose =
    report === undefined || isFromInside(report)
      ? l10n.t("GPUs of {0}", name)
      : l10n.t("GPUs of {0} ({1})", name, report.injection);
  if (state?.phase !== "stopped" && state?.phase !== "unconfigured") {
    return whose;
  }
  return state.container
    ? l10n.t("{0}: another choice starts the container", whose)
    : l10n.t("{0}: a choice builds and starts the container", whose);
}

/** What is to be known of the list, and what it means that nothing is ticked. */
export function advice(report: GpusReport, before: readonly Choice[], now: readonly Choice[]): string {
  if (now.length === 0 && before.length > 0) {
    return l10n.t("Nothing is ticked: CPU only");
  }
  if (now.length === 0 && report.devices.length > 0) {
    return l10n.t("Nothing is picked yet: the configuration decides");
  }
  return hint(report);
}

/** What is to be known of the list: where it may be short, why figures are missing, why there is none. */
export function hint({ devices, complete, problem, reason }: GpusReport): string {
  if (devices.length === 0) {
    return plain(short(reason, 200));
  }
  if (!complete) {
    return l10n.t("The engine does not tell of all its GPUs.");
  }
  return problem === null ? l10n.t("Tick what the container is to have") : plain(short(problem, 200));
}

/** Whether the rows look the same. */
export function same(a: readonly Row[], b: readonly Row[]): boolean {
  const look = ({ label, description, detail }: Row) => [label, description, detail];
  return JSON.stringify(a.map(look)) === JSON.stringify(b.map(look));
}
