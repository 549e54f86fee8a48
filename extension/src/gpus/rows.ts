// The rows of the GPU picker. Knows nothing of the editor.

import { l10n } from "../l10n";
import type { GpuReport, GpusReport, OfferedGpu } from "../protocol";
import { plain } from "../text";

export type Row = {
  label: string;
  description?: string;
  detail?: string;
} & ({ kind: "separator" } | { kind: "mode" | "gpu"; select: string; picked: boolean });

export type Choice = Exclude<Row, { kind: "separator" }>;

/** Which GPUs may be taken at all, then one row for each. `now`: what the container has. */
export function rows(report: GpusReport, now: GpuReport | null): Row[] {
  const chosen = now?.chosen?.replace(/^device=/, "").split(",") ?? [];
  const mode = (select: string, label: string, description: string): Choice => ({
    kind: "mode",
    select,
    label,
    description,
    picked: chosen.includes(select),
  });
  const modes: Row[] = [
    mode("auto", `$(sparkle) ${l10n.t("Automatic")}`, l10n.t("one free GPU")),
    mode("all", `$(layers) ${l10n.t("All")}`, l10n.t("every GPU that the engine offers")),
    mode("none", `$(circle-slash) ${l10n.t("None")}`, l10n.t("CPU only")),
  ];
  const byMode = modes.some((row) => row.kind === "mode" && row.picked);
  const gpus: Row[] = report.devices.map((gpu) => ({
    kind: "gpu",
    select: gpu.select,
    label: `$(circuit-board) ${title(gpu)}`,
    description: gpu.name ? plain(gpu.name) : undefined,
    detail: detail(gpu),
    picked: !byMode && (chosen.includes(gpu.select.replace(/^device=/, "")) || inUse(gpu, now)),
  }));
  const separator: Row[] = gpus.length > 0 ? [{ kind: "separator", label: "GPU" }] : [];
  return [...modes, ...separator, ...gpus];
}

function title({ index, slice, select }: OfferedGpu): string {
  if (index === null) {
    return plain(select);
  }
  return slice === null ? `GPU ${index}` : l10n.t("GPU {0}, slice {1}", index, slice);
}

function detail({ uuid, cdi }: OfferedGpu): string | undefined {
  const parts = [uuid, cdi].filter((part) => part !== null);
  return parts.length > 0 ? plain(parts.join(" · ")) : undefined;
}

function inUse(gpu: OfferedGpu, now: GpuReport | null): boolean {
  if (!now || now.injection === "none") {
    return false;
  }
  return now.devices.some((device) =>
    device.uuid !== null && gpu.uuid !== null
      ? device.uuid === gpu.uuid
      : gpu.slice === null && device.index === gpu.index,
  );
}

/**
 * Of several rows together: a mode stands alone. What was picked last decides.
 */
export function settle<T extends Choice>(before: readonly T[], after: readonly T[]): T[] {
  const fresh = after.filter((row) => !before.includes(row));
  const modes = fresh.filter((row) => row.kind === "mode");
  // Several at once come from the box that ticks everything.
  const mode = modes.find((row) => row.select === "all") ?? modes[0];
  if (mode) {
    return [mode];
  }
  return fresh.some((row) => row.kind === "gpu") ? after.filter((row) => row.kind === "gpu") : [...after];
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

/** How GPUs get in, and why; and where the list may be short. */
export function footnote(report: GpusReport): string {
  const how = l10n.t("Injection: {0} ({1})", report.injection, report.reason);
  return report.complete ? how : `${how}. ${l10n.t("The engine does not tell of all its GPUs.")}`;
}
