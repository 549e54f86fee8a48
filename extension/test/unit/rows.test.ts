import assert from "node:assert/strict";
import { type Seen, failedSince } from "../../src/commands/jobNewsText";
import { losses, lossText } from "../../src/gpus/lostText";
import type { FolderState, GpuReport, LostGpus } from "../../src/protocol";
import { childrenOf, gpuRows, phaseText, unknownGpus, unknownRow } from "../../src/views/rows";
import { reached } from "../../src/walkthroughPlan";
import { GIB, container, has, job, offered, report, state as told } from "./told";

const state: FolderState = told("running", { container: container("running") });

describe("news of jobs", () => {
  it("are those that ran and failed since", () => {
    const ended = { state: "exited", exit_code: 3 };
    const before = [job("one", {}), job("two", {}), job("three", {}), job("four", ended)];
    const now = [
      job("one", ended),
      job("two", { state: "exited", exit_code: 0 }),
      job("four", ended),
      job("new", ended),
    ];
    const seen = (jobs: Seen["jobs"], method?: string): Seen => ({
      jobs,
      work: method ? { method, token: null } : null,
    });
    assert.deepEqual(
      failedSince(seen(before), seen(now, "run")).map(({ name }) => name),
      ["gpubay-w-one"],
    );
    // What was ended by hand is known before, while, or just after it was.
    assert.deepEqual(failedSince(seen(before, "stop"), seen(now)), []);
    assert.deepEqual(failedSince(seen(before), seen(now, "down")), []);
  });
});

describe("the walkthrough", () => {
  it("is ticked by what has been reached", () => {
    assert.deepEqual(reached(undefined), []);
    assert.deepEqual(reached({ ...state, phase: "unconfigured" }), []);
    assert.deepEqual(reached({ ...state, phase: "stopped" }), ["hasImage"]);
    assert.deepEqual(reached(state), ["hasImage", "hasContainer"]);
    const hostEnv = { path: "/w/.venv", python: "/w/.venv/bin/python", version: "3.12", roots: [] };
    assert.deepEqual(reached({ ...state, hostEnv, jobs: [job("one", {})] }), [
      ...["hasImage", "hasContainer", "hasEnvironment", "hasJob"],
    ]);
  });
});

describe("the rows of the view", () => {
  it("are the container, the newest job first, and the GPUs", () => {
    const jobs = [job("one", { state: "exited", exit_code: 1 }), job("two", {})];
    const rows = childrenOf({ ...state, jobs });
    assert.deepEqual(
      rows.map(({ label, context, icon }) => [label, context, icon]),
      [
        ["Container", "container.running", "vm-running"],
        ["two", "job.running", "sync"],
        ["one", "job.ended", "error"],
        ["GPUs", "gpus", "circuit-board"],
      ],
    );
    // Not the engine's words, which would tell a time that does not go on.
    assert.equal(rows[1]?.description, "running");
  });

  it("begin with what makes a container where there is none, and have the GPUs before the first start", () => {
    const rows = (...args: Parameters<typeof childrenOf>) =>
      childrenOf(...args).map(({ label, command, folded }) => [label, command, folded]);
    const gpus = (folded: boolean) => ["GPUs", undefined, folded];
    assert.deepEqual(rows(told("stopped")), [["Start GPU Container", "gpubay.start", false], gpus(false)]);
    assert.deepEqual(rows(told("unconfigured")), [["Initialize…", "gpubay.initialize", false], gpus(false)]);
    const work = { method: "up", token: null };
    assert.deepEqual(rows(told("stopped", { work })), [["Starting…", "gpubay.showLog", false], gpus(false)]);
    // Nothing is asked where nobody trusts, or before anything is known.
    assert.deepEqual(rows(told("untrusted")), []);
    assert.deepEqual(rows(told("looking")), [["looking…", "gpubay.showLog", false]]);
  });

  it("fold the GPUs of a folder that is not worked with, where there are several", () => {
    const folded = (now: FolderState) => {
      const row = childrenOf(now, { several: true }).find(({ kind }) => kind === "gpus");
      return [row?.folded, row?.id];
    };
    assert.deepEqual(folded(told("stopped")), [true, "folded-gpus:/w"]);
    assert.deepEqual(folded(state), [false, "gpus:/w"]);
    assert.deepEqual(folded(told("stopped", { jobs: [job("one", {})] })), [false, "gpus:/w"]);
  });

  it("say why nothing is known of a folder, or of its GPUs", () => {
    const failure = { code: "x", message: "no engine", hint: "Start it.", place: null, powers: [], candidates: [] };
    assert.equal(unknownRow("/w", { status: "starting" }).label, "looking…");
    const down = unknownRow("/w", { status: "down", failure });
    assert.deepEqual(
      [down.label, down.command, down.tooltip],
      ["No engine.", "gpubay.showProblem", "No engine. Start it."],
    );
    const [row] = unknownGpus("/w", failure, told("stopped"));
    assert.deepEqual([row?.label, row?.tooltip], ["No engine.", "No engine. Start it."]);
    // It stands above already.
    assert.deepEqual(unknownGpus("/w", failure, told("problem", { problem: failure })), []);
  });

  it("show a container that rests in words of ours", () => {
    const [rests] = childrenOf(told("stopped", { container: container("exited") }));
    assert.equal(rests?.description, "stopped");
  });

  it("show a job that waits as one that can be stopped", () => {
    const rows = childrenOf({
      ...state,
      jobs: [job("late", { state: "waiting", status: "waiting, 2nd for GPU 0", place: 2 })],
    });
    const row = rows.find(({ job }) => job === "late");
    assert.deepEqual([row?.description, row?.icon, row?.context], ["waits for GPUs", "clock", "job.running"]);
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
    const work = { method: "up", token: null };
    assert.equal(phaseText({ ...state, work }), "Starting…");
    assert.equal(childrenOf({ ...state, phase: "stopped", container: null, work })[0]?.label, "Starting…");
    const problem = { code: "x", message: "no engine", hint: null, place: null, powers: [], candidates: [] };
    assert.equal(childrenOf({ ...state, phase: "problem", problem })[0]?.label, "No engine.");
    const message = "/w/gpubay.toml:2:1: unknown key\n  |\n2 | x = 1\n  | ^";
    const [row] = childrenOf({ ...state, phase: "problem", problem: { ...problem, message, hint: "Mend it." } });
    assert.equal(row?.label, "gpubay.toml:2:1: unknown key.");
    assert.match(row.tooltip, /^gpubay\.toml:2:1: unknown key\. Mend it\.\n {2}\|\n2 \| x = 1/);
  });

  it("say of the container and of a job that GPUs are lost, and why", () => {
    const lost: LostGpus = {
      cause: "driver_update",
      text: "its GPUs are lost",
      evidence: ["580.1"],
      next: "Recreate.",
    };
    const gpu: GpuReport = { ...has(), lost };
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
    const gpu = offered(1, { select: "1:0", slice: 0, name: null });
    const first = (...devices: (typeof gpu)[]) => gpuRows("/w", { ...report(...devices), reason: "because" }, null)[0];
    assert.equal(first(gpu)?.label, "GPU 1, slice 0");
    // The side bar has room for some 30 characters.
    const live = { ...gpu, name: "NVIDIA H100", memory: { used: 18 * GIB, total: 80 * GIB }, utilization: 40 };
    assert.equal(first(live)?.description, "18 / 80 GiB · 40 %");
    assert.equal(first({ ...gpu, name: "L4" })?.description, "L4");
    assert.equal(first()?.label, "because");
  });
});
