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
import type { FolderState } from "../../src/protocol";
import { GIB, has, measured, offered, report, state } from "./told";

describe("figures of GPUs", () => {
  it("are short", () => {
    assert.deepEqual([0, 0.04 * GIB, 3.14 * GIB, 9.97 * GIB, 80 * GIB].map(gib), ["0", "0.0", "3.1", "10", "80"]);
    assert.equal(bar({ used: 0, total: GIB }), "░░░░░░░░░░");
    assert.equal(bar({ used: 1, total: GIB }), "█░░░░░░░░░");
    assert.equal(bar({ used: 2 * GIB, total: GIB }), "██████████");
    assert.equal(bar({ used: 0, total: 0 }, 2), "░░");
  });

  it("are those of the GPUs that the container has", () => {
    const all = report(measured(0), measured(1), measured(2));
    assert.deepEqual(memoryOf(has(1, 2), all), { used: 3 * GIB, total: 48 * GIB });
    assert.equal(memoryOf(has(), all), undefined);
    assert.equal(memoryOf(has(1), undefined), undefined);
    assert.equal(memoryOf(has(1, 7), all), undefined);
    assert.equal(memoryOf(has(1), report(measured(1, { memory: null }))), undefined);
    assert.equal(memoryOf({ ...has(1), injection: "none" }, all), undefined);
  });

  it("tell a slice from another of the same GPU", () => {
    const slice = (at: number) => measured(1, { select: `1:${at}`, slice: at, uuid: null });
    const now = { ...has(), devices: [{ index: 1, slice: 2, uuid: null, name: null, cuda: 0 }] };
    assert.equal(placeOf(slice(2), now), 0);
    assert.equal(placeOf(slice(0), now), -1);
    assert.equal(placeOf(measured(1, { uuid: null }), now), -1);
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
    assert.equal(placeOf(measured(0), now), 1);
    assert.equal(placeOf(measured(1), now), -1);
    const trouble = { trouble: "the driver has lost it", memory: null };
    assert.deepEqual(inside(now, report(measured(0, trouble), measured(2))), [
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
  const of = (state: FolderState | undefined, looked = false, focused = true) =>
    watched(focused, [{ folder: "/w", state, looked }]).length === 1;

  it("while the container runs with some, or they are looked at", () => {
    assert.ok(of(state("running", { gpu: has(0) })));
    assert.ok(of(state("drifted", { gpu: has(0) })));
    assert.ok(of(state("stopped"), true));
  });

  it("and not where nobody sees them", () => {
    assert.ok(!of(state("running", { gpu: has(0) }), true, false));
    assert.ok(!of(state("running", { gpu: has() })));
    assert.ok(!of(state("running", { gpu: { ...has(0), injection: "none" } })));
    assert.ok(!of(state("stopped", { gpu: has(0) })));
    assert.ok(!of(state("untrusted"), true));
    assert.ok(!of(undefined, true));
  });
});
