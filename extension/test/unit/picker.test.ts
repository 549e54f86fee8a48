import assert from "node:assert/strict";
import { type Choice, footnote, rows, selection, settle } from "../../src/gpus/rows";
import type { GpuReport, GpusReport } from "../../src/protocol";

const device = (index: number, slice: number | null = null) => ({
  select: slice === null ? `GPU-${index}` : `MIG-${index}-${slice}`,
  index,
  slice,
  uuid: slice === null ? `GPU-${index}` : `MIG-${index}-${slice}`,
  name: "NVIDIA H100 $(alert)",
  cdi: `nvidia.com/gpu=${index}`,
  ...{ profile: null, memory: null, utilization: null, temperature: null, power: null, power_limit: null },
  ...{ trouble: null, holders: [] },
});
const report: GpusReport = {
  ...{ engine: "unix:///run/docker.sock", injection: "cdi", reason: "it was discovered", complete: true },
  ...{ devices: [device(0), device(1), device(1, 0)], other_names: [], driver: null, cuda: null, problem: null },
};
const has = (chosen: string | null, ...indexes: number[]): GpuReport => ({
  ...{ injection: "cdi", isolation: "soft", reason: "", chosen },
  devices: indexes.map((index) => ({ index, uuid: `GPU-${index}`, name: null })),
});
const choices = (now: GpuReport | null) => rows(report, now).filter((row): row is Choice => row.kind !== "separator");
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

  it("shows no icon that a name brings", () => {
    assert.equal(choices(null)[3]?.description, "NVIDIA H100 $ (alert)");
  });

  it("starts with what the container has", () => {
    assert.deepEqual(picked(has(null, 1)), ["GPU-1"]);
    assert.deepEqual(picked(has("all", 0, 1)), ["all"]);
    assert.deepEqual(picked(has("none")), ["none"]);
    assert.deepEqual(picked(null), []);
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

  it("says how GPUs get in, and that there may be more", () => {
    assert.equal(footnote(report), "Injection: cdi (it was discovered)");
    assert.match(footnote({ ...report, complete: false }), /does not tell of all/);
  });
});
