// Figures of GPUs, in words and bars. Knows nothing of the editor.

import { l10n } from "../l10n";
import type { GpuDevice, GpuHolder, GpuLease, GpuMemory, GpuReport, GpusReport, OfferedGpu } from "../protocol";
import { plain, short } from "../text";

/** As the makers count a card's memory, without the unit. */
export function gib(bytes: number): string {
  const value = bytes / 2 ** 30;
  return value < 9.95 && value > 0 ? value.toFixed(1) : value.toFixed(0);
}

/** `3.1 / 80 GiB` */
export function memoryText({ used, total }: GpuMemory): string {
  return `${gib(used)} / ${gib(total)} GiB`;
}

/** As long for a full GPU as for an empty one; what is used at all is seen. */
export function bar({ used, total }: GpuMemory, width = 10): string {
  const share = total > 0 ? Math.min(used / total, 1) : 0;
  const full = share > 0 ? Math.max(Math.round(share * width), 1) : 0;
  return "█".repeat(full) + "░".repeat(width - full);
}

/** `GPU 3`, or the slice of one. */
export function gpuTitle({ index, slice, select }: OfferedGpu): string {
  if (index === null) {
    return plain(select);
  }
  return slice === null ? `GPU ${String(index)}` : l10n.t("GPU {0}, slice {1}", index, slice);
}

/** Of a slice with its profile. */
export function gpuName({ name, profile }: OfferedGpu): string {
  return plain([name, profile].filter((part) => part !== null).join(" "));
}

/** Memory and use; empty where the driver does not tell. */
export function figures({ memory, utilization, trouble }: OfferedGpu, width = 10): string {
  if (trouble !== null) {
    return "";
  }
  const parts = [
    memory && `${bar(memory, width)} ${memoryText(memory)}`,
    utilization !== null && `${String(utilization)} %`,
  ];
  return parts.filter((part) => part !== null && part !== false).join(" · ");
}

/** Whose it is: `alice, model (job train): python, 12 GiB`. */
export function holderText({ pid, user, container, workspace, job, program, memory }: GpuHolder): string {
  const place = workspace?.split("/").findLast((part) => part !== "") ?? container ?? "";
  const where = place !== "" && job !== null ? l10n.t("{0} (job {1})", place, job) : place;
  const listed = (...parts: string[]) => parts.filter((part) => part !== "").join(", ");
  const who = listed(user ?? "", where);
  // Of a stranger nothing but the number may be known.
  const what = listed(program ?? `PID ${String(pid)}`, memory === null ? "" : `${gib(memory)} GiB`);
  return plain(short([who, what].filter((part) => part !== "").join(": "), 100));
}

/** A container that has it: `alice, model (job train): has it alone`. */
export function leaseText({ kind, user, workspace, job, container }: GpuLease): string {
  const place = workspace.split("/").findLast((part) => part !== "") ?? container ?? "";
  const where = place !== "" && job !== null ? l10n.t("{0} (job {1})", place, job) : place;
  const who = [user ?? "", where].filter((part) => part !== "").join(", ");
  const has = { exclusive: l10n.t("has it alone"), waiting: l10n.t("waits for GPUs") }[kind] ?? l10n.t("shares it");
  return plain(short(`${who}: ${has}`, 100));
}

/** Leases whose processes are told are told with them. */
export function idleLeases({ leases, holders }: OfferedGpu): GpuLease[] {
  return leases.filter((lease) => holders.every((holder) => holder.container !== lease.container));
}

/** The versions by which an image is chosen. */
export function driverText({ driver, cuda }: GpusReport): string {
  if (driver === null) {
    return "";
  }
  return cuda === null ? l10n.t("Driver: {0}", driver) : l10n.t("Driver: {0}, CUDA up to {1}", driver, cuda);
}

/** With its number, and since when. */
export function holderLine(holder: GpuHolder): string {
  const since = holder.since === null ? NaN : Date.parse(holder.since);
  const when = Number.isNaN(since) ? "" : l10n.t("since {0}", new Date(since).toLocaleString());
  return [`${holderText(holder)} (${String(holder.pid)})`, when].filter((part) => part !== "").join(" · ");
}

/** Who holds it; several in a row. */
export function holdersText(gpu: OfferedGpu, most = 3): string {
  const all = [...gpu.holders.map(holderText), ...idleLeases(gpu).map(leaseText)];
  return [...all.slice(0, most), ...(all.length > most ? [l10n.t("{0} more", all.length - most)] : [])].join("; ");
}

/** As people write it: `3`, and `3:1` for a slice. */
export function numberOf({ index, slice }: GpuDevice): string {
  return slice === null ? String(index) : `${String(index)}:${String(slice)}`;
}

/** What `CUDA_VISIBLE_DEVICES` is to be for programs that start now; `undefined`: it is left alone. */
export function visibleDevices(gpu: GpuReport | null | undefined): string | undefined {
  return gpu?.visible?.join(",");
}

/** It is told by a helper in the container, which sees neither how the GPUs got in nor whose processes are on them. */
export function isFromInside({ injection }: { injection: string }): boolean {
  return injection === "inside";
}

/** Whether the container has it. */
export function isOf(gpu: OfferedGpu, now: GpuReport | null): boolean {
  return placeOf(gpu, now) >= 0;
}

/** Its number inside, or -1. */
export function placeOf(gpu: OfferedGpu, now: GpuReport | null): number {
  if (!now || now.injection === "none") {
    return -1;
  }
  return now.devices.findIndex((device) =>
    device.uuid !== null && gpu.uuid !== null
      ? device.uuid === gpu.uuid
      : device.slice === gpu.slice && device.index === gpu.index,
  );
}

/** What is known of the one that has this number inside. */
export function offeredAt(place: number, now: GpuReport, report: GpusReport | undefined): OfferedGpu | undefined {
  return report?.devices.find((gpu) => placeOf(gpu, now) === place);
}

/** Memory of all that the container has; `undefined` where it is not known of each. */
export function memoryOf(now: GpuReport | null, report: GpusReport | undefined): GpuMemory | undefined {
  const mine = report?.devices.filter((gpu) => isOf(gpu, now)) ?? [];
  if (mine.length === 0 || mine.length !== now?.devices.length) {
    return undefined;
  }
  const sum = { used: 0, total: 0 };
  for (const { memory } of mine) {
    if (!memory) {
      return undefined;
    }
    sum.used += memory.used;
    sum.total += memory.total;
  }
  return sum;
}

/** One GPU of the container, in lines: where it is inside, what it does, and who is on it. */
export function inside(now: GpuReport, report: GpusReport | undefined): string[] {
  return now.devices.flatMap((device, place) => {
    const gpu = offeredAt(place, now, report);
    if (!gpu) {
      const name = device.name ? `: ${plain(device.name)}` : "";
      return [`${l10n.t("GPU {0} = cuda:{1} inside", numberOf(device), device.cuda ?? place)}${name}`];
    }
    const title = l10n.t("{0} = cuda:{1} inside", gpuTitle(gpu), device.cuda ?? place);
    const rest = [gpuName(gpu), figures(gpu)].filter((part) => part !== "").join(" · ");
    return [
      rest === "" ? title : `${title}: ${rest}`,
      ...(gpu.trouble === null ? [] : [`    ${plain(gpu.trouble)}`]),
      ...gpu.holders.map((holder) => `    ${holderText(holder)}`),
      ...idleLeases(gpu).map((lease) => `    ${leaseText(lease)}`),
    ];
  });
}
