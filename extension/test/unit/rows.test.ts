import assert from "node:assert/strict";
import { losses, lossText } from "../../src/gpus/lostText";
import type { FolderState, GpuReport, LostGpus, Row } from "../../src/protocol";
import { childrenOf, gpuRows, phaseText } from "../../src/views/rows";

const state: FolderState = {
  folder: "/w",
  phase: "running",
  work: null,
  container: { id: "1", name: "gpubay-w", state: "running", workdir: "/workspace" },
  gpu: null,
  hostEnv: null,
  paths: [],
  drift: [],
  jobs: [],
  knownJobs: [],
  problem: null,
};

function job(name: string, more: Partial<Row>): Row {
  return {
    id: name,
    name: `gpubay-w-${name}`,
    role: "job",
    job: name,
    command: ["python", "train.py"],
    workspace: "/w",
    workspace_exists: true,
    state: "running",
    status: "Up 2 minutes",
    gpus: "",
    lost_gpus: null,
    record: null,
    commit: null,
    exit_code: null,
    created: 0,
    ...more,
  };
}

describe("the rows of the view", () => {
  it("are the container, the newest job first, and the GPUs", () => {
    const jobs = [job("one", { state: "exited", exit_code: 1 }), job("two", {})];
    const rows = childrenOf({ ...state, jobs });
    assert.deepEqual(
      rows.map(({ label, context, icon }) => [label, context, icon]),
      [
        ["gpubay-w", "container.running", "vm-running"],
        ["two", "job.running", "sync"],
        ["one", "job.ended", "error"],
        ["GPUs", "gpus", "circuit-board"],
      ],
    );
    // Not the engine's words, which would tell a time that does not go on.
    assert.equal(rows[1]?.description, "running");
  });

  it("show drift, and what a stranger wrote as text only", () => {
    const drift = [{ option: "memory", was: null, now: "1g", text: "memory: 1g" }];
    const [container] = childrenOf({ ...state, phase: "drifted", drift });
    assert.equal(container?.context, "container.drifted");
    assert.match(container.tooltip, /memory: 1g/);
    const [, evil] = childrenOf({ ...state, jobs: [job("$(x) [a](command:b)", {})] });
    assert.equal(evil?.label, "$ (x) [a] (command:b)");
    assert.equal(evil.job, "$(x) [a](command:b)");
  });

  it("say what is the matter", () => {
    assert.equal(phaseText({ ...state, work: { method: "up", token: null } }), "working…");
    const problem = { code: "x", message: "no engine", hint: null, place: null, powers: [], candidates: [] };
    assert.equal(childrenOf({ ...state, phase: "problem", problem })[0]?.label, "no engine");
  });

  it("say of the container and of a job that GPUs are lost, and why", () => {
    const lost: LostGpus = {
      cause: "driver_update",
      text: "its GPUs are lost",
      evidence: ["580.1"],
      next: "Recreate.",
    };
    const gpu: GpuReport = {
      ...{ injection: "cdi", isolation: "soft", reason: "", chosen: null, devices: [], visible: null, lost },
    };
    const now: FolderState = { ...state, phase: "drifted", gpu, jobs: [job("one", { lost_gpus: lost })] };
    const [note, container, one] = childrenOf(now);
    assert.deepEqual([note?.label, note?.icon], ["GPUs lost: the driver was updated", "error"]);
    assert.match(note?.tooltip ?? "", /its GPUs are lost\.\n• 580\.1\nRecreate\./);
    assert.match(container?.description ?? "", /running, GPUs lost/);
    assert.deepEqual([one?.description, one?.icon], ["running, GPUs lost", "warning"]);
    // What is told of both has a key of its own, and is said once.
    const [of, ofJob] = losses(now);
    assert.deepEqual([of?.key, ofJob?.key], ["1:driver_update", "one:driver_update"]);
    assert.match(of ? lossText("w", of) : "", /^The container of w has lost its GPUs: the driver was updated\./);
    assert.match(ofJob ? lossText("w", ofJob) : "", /^The job one of w has lost/);
  });

  it("name GPUs and slices, and say why there are none", () => {
    const gpu = {
      ...{ select: "1:0", index: 1, slice: 0, uuid: "MIG-1", name: null, cdi: "nvidia.com/gpu=1:0" },
      ...{ profile: null, memory: null, utilization: null, temperature: null, power: null, power_limit: null },
      ...{ trouble: null, holders: [] },
    };
    const report = {
      engine: "",
      injection: "cdi",
      reason: "because",
      complete: true,
      devices: [gpu],
      other_names: [],
      driver: null,
      cuda: null,
      problem: null,
    };
    assert.equal(gpuRows("/w", report, null)[0]?.label, "GPU 1, slice 0");
    assert.equal(gpuRows("/w", { ...report, devices: [] }, null)[0]?.label, "because");
  });
});
