import assert from "node:assert/strict";
import { choiceOf, firstStep, interrupted } from "../../src/onOpenPlan";
import type { FolderState, Phase } from "../../src/protocol";

function state(phase: Phase, work: FolderState["work"] = null): FolderState {
  return { ...empty, phase, work };
}

const empty: FolderState = {
  folder: "/w",
  phase: "looking",
  work: null,
  container: null,
  gpu: null,
  hostEnv: null,
  paths: [],
  drift: [],
  jobs: [],
  knownJobs: [],
  problem: null,
};

describe("what a window does when it opens", () => {
  it("is what was chosen, the nearest choice first", () => {
    assert.equal(choiceOf(undefined), undefined);
    assert.equal(choiceOf({ globalValue: "attach" }), "attach");
    assert.equal(choiceOf({ globalValue: "attach", workspaceValue: "nothing" }), "nothing");
    assert.equal(choiceOf({ workspaceValue: "rm -rf" }), undefined);
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
    assert.equal(firstStep("start", state("stopped", { method: "up", token: null })), "nothing");
  });

  it("knows a start that its window did not live to see", () => {
    assert.equal(interrupted("up", state("stopped")), true);
    assert.equal(interrupted("up", state("running")), false);
    assert.equal(interrupted("down", state("stopped")), false);
    assert.equal(interrupted(undefined, state("stopped")), false);
  });
});
