import assert from "node:assert/strict";
import { type Choice, advice, change, heading, hint, rows, same, selection, settle } from "../../src/gpus/rows";
import type { GpuReport, OfferedGpu } from "../../src/protocol";
import { container, has as told, offered, report, state } from "./told";

const gpu = (index: number, more: Partial<OfferedGpu> = {}) =>
  offered(index, { name: "NVIDIA H100 $(alert)", cdi: `nvidia.com/gpu=${index}`, ...more });
/** With nothing of a driver's. */
const all = { ...report(gpu(0), gpu(1), gpu(1, { select: "MIG-1-0", uuid: "MIG-1-0", slice: 0 })), driver: null };
const has = (chosen: string | null, ...indexes: number[]): GpuReport => ({ ...told(...indexes), chosen });
const choices = (now: GpuReport | null) => rows(all, now).filter((row): row is Choice => row.kind !== "separator");
const picked = (now: GpuReport | null) =>
  choices(now)
    .filter((row) => row.picked)
    .map((row) => row.select);

describe("GPU picker", () => {
  it("has a row for each mode, GPU and slice", () => {
    assert.deepEqual(
      choices(null).map((row) => row.select),
      ["auto", "all", "none", "GPU-0", "GPU-1", "MIG-1-0"],
    );
    assert.equal(choices(null)[5]?.label, "$(circuit-board) GPU 1, slice 0");
  });

  it("knows from inside neither the engine's GPUs nor who is on one", () => {
    const inside = { ...report(gpu(0, { utilization: 0 })), injection: "inside" };
    const [, every, , , first] = rows(inside, null);
    assert.equal(every?.description, "every GPU of the container");
    assert.equal(first?.detail, "GPU-0 · nvidia.com/gpu=0");
    assert.equal(rows(report(gpu(0, { utilization: 0 })), null)[4]?.detail, "nobody is on it");
  });

  it("shows no icon that a name brings", () => {
    assert.equal(choices(null)[3]?.description, "NVIDIA H100 $ (alert)");
  });

  it("starts with what the container has", () => {
    assert.deepEqual(picked(has(null, 1)), ["GPU-1"]);
    assert.deepEqual(picked(has("all", 0, 1)), ["all"]);
    assert.deepEqual(picked(has("none")), ["none"]);
    assert.deepEqual(picked(null), []);
    // Nobody picked: the configuration did, and the picker shows how.
    assert.deepEqual(picked({ ...has(null, 0), asked: "auto" }), ["auto"]);
    assert.match(choices({ ...has(null, 0), asked: "auto" })[0]?.description ?? "", /now GPU 0$/);
    assert.deepEqual(picked({ ...has(null, 0, 1), asked: "2" }), ["GPU-0", "GPU-1"]);
    assert.deepEqual(picked({ ...has("device=GPU-1", 1), asked: "auto" }), ["GPU-1"]);
  });

  it("changes nothing for who has changed nothing", () => {
    const [auto, , , first] = choices(null) as [Choice, Choice, Choice, Choice];
    assert.equal(change([], []), undefined);
    assert.equal(change([first], [first]), undefined);
    assert.equal(change([first], [auto]), "auto");
    assert.equal(change([first], []), "none");
  });

  it("says what a choice brings about, and what it means that nothing is ticked", () => {
    const said = (now: Parameters<typeof heading>[2]) => heading("w", all, now);
    assert.equal(said(state("running", { container: container("running") })), "GPUs of w (cdi)");
    assert.equal(said(state("stopped")), "GPUs of w (cdi): a choice builds and starts the container");
    const rests = state("stopped", { container: container("exited") });
    assert.equal(said(rests), "GPUs of w (cdi): another choice starts the container");
    assert.equal(heading("w", { ...all, injection: "inside" }, undefined), "GPUs of w");
    const [auto] = choices(null) as [Choice];
    assert.equal(advice(all, [auto], []), "Nothing is ticked: CPU only");
    // What nobody has picked is left alone.
    assert.equal(advice(all, [], []), "Nothing is picked yet: the configuration decides");
    assert.equal(advice(all, [], [auto]), hint(all));
  });

  it("takes a mode alone, and several GPUs together", () => {
    const [auto, all, , first, second] = choices(null) as [Choice, Choice, Choice, Choice, Choice];
    assert.deepEqual(settle([auto], [auto, all]), [all]);
    assert.deepEqual(settle([auto], [auto, first]), [first]);
    assert.deepEqual(settle([first], [first, second]), [first, second]);
    assert.deepEqual(settle([first, second], [first, second, auto]), [auto]);
    assert.deepEqual(settle([first, second], [second]), [second]);
    assert.deepEqual(settle([first], [auto, all, first, second]), [all]);
    assert.equal(selection([first, second]), "device=GPU-0,GPU-1");
    assert.equal(selection([]), "none");
  });

  it("tells what each does and who is on it, and of one in trouble that", () => {
    const holder = {
      ...{ pid: 7, program: "python", memory: 3 * 2 ** 30, user: "alice", container: "gpubay-model-1", since: null },
      ...{ workspace: "/home/alice/model", job: "train" },
    };
    const busy = {
      ...gpu(0),
      memory: { used: 3 * 2 ** 30, total: 24 * 2 ** 30 },
      utilization: 40,
      holders: [holder],
    };
    const lost = { ...gpu(1), trouble: "the driver has lost it" };
    const unseen = { ...gpu(3), utilization: 97 };
    const live = { ...all, driver: "580", devices: [{ ...busy, name: "NVIDIA L4" }, lost, gpu(2), unseen] };
    const made = rows(live, null).filter((row): row is Choice => row.kind === "gpu");
    assert.deepEqual(
      made.map(({ label, description, detail }) => [label, description, detail]),
      [
        [
          "$(circuit-board) GPU 0",
          "NVIDIA L4  █░░░░░░░░░ 3.0 / 24 GiB · 40 %",
          "alice, model (job train): python, 3.0 GiB",
        ],
        ["$(warning) GPU 1", "NVIDIA H100 $ (alert)", "the driver has lost it"],
        ["$(circuit-board) GPU 2", "NVIDIA H100 $ (alert)", "nobody is on it"],
        ["$(circuit-board) GPU 3", "NVIDIA H100 $ (alert)  97 %", "a process that cannot be seen"],
      ],
    );
  });

  it("keeps the ticks over rows that are made anew", () => {
    const [auto, , , first, second] = choices(null) as [Choice, Choice, Choice, Choice, Choice];
    const again = (row: Choice): Choice => ({ ...row, description: "newer" });
    assert.deepEqual(
      settle([first], [again(first), again(second)]).map(({ select }) => select),
      ["GPU-0", "GPU-1"],
    );
    assert.deepEqual(settle([auto], [again(auto)]).length, 1);
    assert.ok(same(rows(all, null), rows(all, has(null, 1))));
    assert.ok(!same(rows(all, null), rows({ ...all, driver: "580" }, null)));
  });

  it("says that there may be more, or why there is none", () => {
    assert.match(hint({ ...all, complete: false }), /does not tell of all/);
    assert.equal(hint({ ...all, problem: "the driver is another one" }), "the driver is another one");
    assert.equal(hint({ ...all, devices: [], reason: "no GPU was discovered" }), "no GPU was discovered");
  });
});
