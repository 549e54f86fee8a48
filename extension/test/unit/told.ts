// What the helper tells, as far as a test does not say otherwise.
import type { FolderState, GpuReport, GpusReport, OfferedGpu, Phase, Row } from "../../src/protocol";

export const GIB = 2 ** 30;

export function state(phase: Phase, more: Partial<FolderState> = {}): FolderState {
  return {
    ...{ folder: "/w", phase, work: null, container: null, gpu: null, hostEnv: null, paths: [], drift: [] },
    ...{ jobs: [], knownJobs: [], problem: null },
    ...more,
  };
}

/** A container that is in a state of the engine's. */
export function container(state: string): NonNullable<FolderState["container"]> {
  return { id: "1", name: "gpubay-w", state, workdir: "/workspace" };
}

/** What a container has. */
export function has(...indexes: number[]): GpuReport {
  return {
    ...{ injection: "cdi", isolation: "soft", reason: "the engine has discovered devices" },
    ...{ chosen: null, asked: null, visible: null, lost: null },
    devices: indexes.map((index) => ({ index, slice: null, uuid: `GPU-${index}`, name: null, cuda: null })),
  };
}

/** One GPU, and nothing that a driver would tell of it. */
export function offered(index: number, more: Partial<OfferedGpu> = {}): OfferedGpu {
  return {
    ...{ select: `GPU-${index}`, index, slice: null, uuid: `GPU-${index}`, name: "NVIDIA L4", cdi: null },
    ...{ profile: null, memory: null, utilization: null, temperature: null, power: null, power_limit: null },
    ...{ trouble: null, holders: [], leases: [] },
    ...more,
  };
}

/** One of 24 GiB of which as many are used as its number says. */
export function measured(index: number, more: Partial<OfferedGpu> = {}): OfferedGpu {
  return offered(index, { memory: { used: index * GIB, total: 24 * GIB }, utilization: 0, ...more });
}

export function report(...devices: OfferedGpu[]): GpusReport {
  return {
    ...{ engine: "", injection: "cdi", reason: "it was discovered", complete: true, waiting: [], other_names: [] },
    ...{ driver: "580", cuda: "13.0", problem: null, devices },
  };
}

export function job(name: string, more: Partial<Row> = {}): Row {
  return {
    ...{ id: name, name: `gpubay-w-${name}`, role: "job", job: name, command: ["python", "train.py"] },
    ...{ workspace: "/w", workspace_exists: true, state: "running", status: "Up 2 minutes", gpus: "", devices: null },
    ...{ lost_gpus: null, record: null, commit: null, exit_code: null, unwatched: false, place: null, created: 0 },
    ...more,
  };
}
