import assert from "node:assert/strict";
import {
  bar,
  gib,
  holderLine,
  holderText,
  holdersText,
  inside,
  memoryOf,
  numberOf,
  placeOf,
  visibleDevices,
} from "../../src/gpus/figures";
import { watched } from "../../src/gpus/watched";
import type { FolderState, GpuReport, GpusReport, OfferedGpu, Phase } from "../../src/protocol";

const GIB = 2 ** 30;

function offered(index: number, more: Partial<OfferedGpu> = {}): OfferedGpu {
  return {
    ...{
      select: `GPU-${index}`,
      index,
      slice: null,
      uuid: `GPU-${index}`,
      name: "NVIDIA L4",
      cdi: null,
      profile: null,
    },
    ...{ memory: { used: index * GIB, total: 24 * GIB }, utilization: 0, temperature: null, power: null },
    ...{ power_limit: null, trouble: null, holders: [], leases: [] },
    ...more,
  };
}

function report(...devices: OfferedGpu[]): GpusReport {
  return {
    ...{
      engine: "",
      injection: "cdi",
      reason: "",
      complete: true,
      waiting: [],
      other_names: [],
      driver: "580",
      cuda: "13.0",
    },
    ...{ problem: null, devices },
  };
}

function has(...indexes: number[]): GpuReport {
  const devices = indexes.map((index) => ({ index, slice: null, uuid: `GPU-${index}`, name: null, cuda: null }));
  return {
    injection: "cdi",
    isolation: "soft",
    reason: "",
    chosen: null,
    asked: null,
    devices,
    visible: null,
    lost: null,
  };
}

describe("figures of GPUs", () => {
  it("are short", () => {
    assert.deepEqual([0, 0.04 * GIB, 3.14 * GIB, 9.97 * GIB, 80 * GIB].map(gib), ["0", "0.0", "3.1", "10", "80"]);
    assert.equal(bar({ used: 0, total: GIB }), "░░░░░░░░░░");
    assert.equal(bar({ used: 1, total: GIB }), "█░░░░░░░░░");
    assert.equal(bar({ used: 2 * GIB, total: GIB }), "██████████");
    assert.equal(bar({ used: 0, total: 0 }, 2), "░░");
  });

  it("are those of the GPUs that the container has", () => {
    const all = report(offered(0), offered(1), offered(2));
    assert.deepEqual(memoryOf(has(1, 2), all), { used: 3 * GIB, total: 48 * GIB });
    assert.equal(memoryOf(has(), all), undefined);
    assert.equal(memoryOf(has(1), undefined), undefined);
    assert.equal(memoryOf(has(1, 7), all), undefined);
    assert.equal(memoryOf(has(1), report(offered(1, { memory: null }))), undefined);
    assert.equal(memoryOf({ ...has(1), injection: "none" }, all), undefined);
  });

  it("tell a slice from another of the same GPU", () => {
    const slice = (at: number) => offered(1, { select: `1:${at}`, slice: at, uuid: null });
    const now = { ...has(), devices: [{ index: 1, slice: 2, uuid: null, name: null, cuda: 0 }] };
    assert.equal(placeOf(slice(2), now), 0);
    assert.equal(placeOf(slice(0), now), -1);
    assert.equal(placeOf(offered(1, { uuid: null }), now), -1);
    assert.equal(numberOf({ index: 1, slice: 2, uuid: null, name: null, cuda: 0 }), "1:2");
  });

  it("are the environment of what starts in an attached window", () => {
    assert.equal(visibleDevices({ ...has(0), visible: ["GPU-a", "MIG-b"] }), "GPU-a,MIG-b");
    // None hides all of them.
    assert.equal(visibleDevices({ ...has(0), visible: [] }), "");
    assert.equal(visibleDevices(has(0)), undefined);
    assert.equal(visibleDevices(null), undefined);
  });

  it("say which each is inside, in the order that was asked for", () => {
    const now = has(2, 0);
    assert.equal(placeOf(offered(0), now), 1);
    assert.equal(placeOf(offered(1), now), -1);
    const trouble = { trouble: "the driver has lost it", memory: null };
    assert.deepEqual(inside(now, report(offered(0, trouble), offered(2))), [
      "GPU 2 = cuda:0 inside: NVIDIA L4 · █░░░░░░░░░ 2.0 / 24 GiB · 0 %",
      "GPU 0 = cuda:1 inside: NVIDIA L4",
      "    the driver has lost it",
    ]);
    assert.deepEqual(inside(now, undefined), ["GPU 2 = cuda:0 inside", "GPU 0 = cuda:1 inside"]);
  });
});

describe("holders of GPUs", () => {
  it("are named with what is known of them", () => {
    const nobody = {
      user: null,
      container: null,
      workspace: null,
      job: null,
      program: null,
      memory: null,
      since: null,
    };
    const stranger = { ...nobody, pid: 7, user: "bob", program: "python" };
    assert.equal(holderText(stranger), "bob: python");
    assert.equal(holderLine(stranger), "bob: python (7)");
    assert.match(holderLine({ ...stranger, since: "2026-11-27T20:00:00Z" }), /^bob: python \(7\) · since .*2026/);
    assert.equal(holderText({ ...stranger, container: "other", memory: 12 * GIB }), "bob, other: python, 12 GiB");
    assert.equal(holderText({ ...nobody, pid: 7 }), "PID 7");
    const many = offered(0, { holders: [stranger, stranger, stranger, stranger, stranger] });
    assert.equal(holdersText(many), "bob: python; bob: python; bob: python; 2 more");
  });

  it("are containers, too, on which nothing runs", () => {
    const lease = {
      kind: "exclusive",
      user: "ann",
      workspace: "/home/ann/model",
      job: "train",
      container: "a",
      cuda: 0,
      unwatched: false,
      since: null,
    };
    const dev = { ...lease, kind: "shared", user: "bob", workspace: "/home/bob/other", job: null, container: "b" };
    const both = offered(0, { leases: [lease, dev] });
    assert.equal(holdersText(both), "ann, model (job train): has it alone; bob, other: shares it");
    const stranger = { user: "ann", container: "a", workspace: "/home/ann/model", job: "train", since: null };
    const busy = offered(0, { leases: [lease], holders: [{ ...stranger, pid: 7, program: "python", memory: null }] });
    assert.equal(holdersText(busy), "ann, model (job train): python", "told once");
  });
});

describe("GPUs are watched", () => {
  const state = (phase: Phase, gpu: GpuReport | null = null): FolderState => ({
    ...{ folder: "/w", phase, work: null, container: null, gpu, hostEnv: null, paths: [], drift: [] },
    ...{ jobs: [], knownJobs: [], problem: null },
  });
  const of = (state: FolderState | undefined, looked = false, focused = true) =>
    watched(focused, [{ folder: "/w", state, looked }]).length === 1;

  it("while the container runs with some, or they are looked at", () => {
    assert.ok(of(state("running", has(0))));
    assert.ok(of(state("drifted", has(0))));
    assert.ok(of(state("stopped"), true));
  });

  it("and not where nobody sees them", () => {
    assert.ok(!of(state("running", has(0)), true, false));
    assert.ok(!of(state("running", has())));
    assert.ok(!of(state("running", { ...has(0), injection: "none" })));
    assert.ok(!of(state("stopped", has(0))));
    assert.ok(!of(state("untrusted"), true));
    assert.ok(!of(undefined, true));
  });
});
