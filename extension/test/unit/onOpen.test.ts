import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { Unfinished } from "../../src/helper/unfinished";
import { answers, firstStep, interrupted, planOf } from "../../src/onOpenPlan";
import type { Phase } from "../../src/protocol";
import { state } from "./told";

describe("what a window does when it opens", () => {
  const stopped = state("stopped");

  it("is what the user has chosen, or is asked once", () => {
    assert.deepEqual(planOf({ globalValue: "attach" }, {}, stopped), { choice: "attach" });
    assert.deepEqual(planOf(undefined, {}, stopped), { ask: "own" });
    assert.deepEqual(planOf({ workspaceValue: "rm -rf" }, {}, stopped), { ask: "own" });
    assert.deepEqual(planOf(undefined, {}, state("running")), { choice: "nothing" });
    // Also where the question was closed.
    assert.deepEqual(planOf(undefined, { asked: true }, stopped), { choice: "nothing" });
  });

  it("can be each thing that there is to do, and an attach only where that is possible", () => {
    const said = (attaches: boolean) => answers(attaches).map(({ title, choice, always }) => [title, choice, always]);
    const [once, never] = [
      ["Start", "start", false],
      ["Never Ask", "nothing", true],
    ];
    assert.deepEqual(said(false), [once, ["Always Start Here", "start", true], never]);
    assert.deepEqual(said(true), [
      ...[once, ["Always Start", "start", true], ["Always Start and Attach", "startAndAttach", true]],
      never,
    ]);
  });

  it("is what came with the folder only after the user has agreed to just that", () => {
    const theirs = { workspaceValue: "start" };
    assert.deepEqual(planOf(theirs, {}, stopped), { ask: "settings", choice: "start" });
    assert.deepEqual(planOf({ workspaceFolderValue: "start" }, {}, stopped), { ask: "settings", choice: "start" });
    assert.deepEqual(planOf(theirs, { offered: "start", agreed: true }, stopped), { choice: "start" });
    assert.deepEqual(planOf(theirs, { offered: "start", agreed: false }, stopped), { choice: "nothing" });
    const more = { workspaceValue: "startAndAttach" };
    assert.deepEqual(planOf(more, { offered: "start", agreed: true }, stopped), {
      ask: "settings",
      choice: "startAndAttach",
    });
    // A no to the folder's is none to the user's own.
    const both = { workspaceValue: "startAndAttach", globalValue: "start" };
    assert.deepEqual(planOf(both, { offered: "startAndAttach", agreed: false }, stopped), { choice: "start" });
    assert.deepEqual(planOf({ workspaceValue: "start", globalValue: "start" }, {}, stopped), { choice: "start" });
    // Doing nothing needs nobody's leave, and where there is nothing to do nobody is asked.
    assert.deepEqual(planOf({ workspaceValue: "nothing", globalValue: "start" }, {}, stopped), { choice: "nothing" });
    assert.deepEqual(planOf({ workspaceValue: "attach" }, {}, stopped), { choice: "nothing" });
  });

  it("attaches only to what runs, and starts only what does not", () => {
    const table: [Parameters<typeof firstStep>[0], Phase, ReturnType<typeof firstStep>][] = [
      ["start", "stopped", "start"],
      ["start", "running", "nothing"],
      ["attach", "stopped", "nothing"],
      ["attach", "drifted", "attach"],
      ["startAndAttach", "stopped", "startAndAttach"],
      ["startAndAttach", "running", "attach"],
      ["startAndAttach", "unconfigured", "nothing"],
      ["start", "problem", "nothing"],
      ["nothing", "stopped", "nothing"],
    ];
    for (const [choice, phase, step] of table) {
      assert.equal(firstStep(choice, state(phase)), step, `${choice} ${phase}`);
    }
    assert.equal(firstStep("start", state("stopped", { work: { method: "up", token: null } })), "nothing");
  });

  it("knows a start that its window did not live to see", () => {
    assert.equal(interrupted("up", state("stopped")), "yes");
    assert.equal(interrupted("up", state("running")), "open");
    assert.equal(interrupted("up", state("problem")), "open");
    assert.equal(interrupted("up", undefined), "open");
    assert.equal(interrupted("up", state("stopped", { work: { method: "up", token: null } })), "no");
    assert.equal(interrupted("down", state("stopped")), "no");
    assert.equal(interrupted(undefined, state("stopped")), "no");
  });
});

describe("what is unfinished", () => {
  let home: string;
  const gone = 2 ** 22 + 1; // More than any process's number.
  const window = (pid: number) => new Unfinished(home, (text) => assert.fail(text), pid);
  const nothing = { method: undefined, unsure: false };
  beforeEach(() => {
    home = path.join(mkdtempSync(path.join(os.tmpdir(), "gpubay-unit-")), "unfinished");
  });
  afterEach(() => {
    rmSync(path.dirname(home), { recursive: true });
  });

  it("is told to the next window, once", () => {
    window(gone).note("/w", "up");
    assert.deepEqual(window(7).take("/other"), nothing);
    assert.deepEqual(window(7).take("/w"), { method: "up", unsure: false });
    assert.deepEqual(window(7).take("/w"), nothing);
  });

  it("is nothing where it came to its end", () => {
    const before = window(gone);
    before.note("/w", "up");
    before.note("/w", undefined);
    assert.deepEqual(window(7).take("/w"), nothing);
  });

  it("is what it was when the window closed, whatever is said while it goes down", () => {
    const before = window(process.pid);
    before.note("/w", "up");
    before.leave();
    before.note("/w", undefined);
    assert.deepEqual(window(7).take("/w"), { method: "up", unsure: false });
  });

  it("is not told while its window lives, which may be another one beside", () => {
    const beside = window(process.pid);
    beside.note("/w", "up");
    assert.deepEqual(window(7).take("/w"), { method: undefined, unsure: true });
    assert.deepEqual(beside.take("/w"), nothing);
    beside.leave();
    assert.deepEqual(window(7).take("/w"), { method: "up", unsure: false });
  });

  it("of a process whose number comes again is not taken for this one's", () => {
    window(7).note("/w", "up");
    assert.deepEqual(window(7).take("/w"), { method: "up", unsure: false });
  });
});
