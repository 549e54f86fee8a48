import assert from "node:assert/strict";
import { argvOf } from "../../src/tasks/argv";

describe("a task of type gpubay", () => {
  it("is an argument vector, whatever it is called", () => {
    assert.deepEqual(argvOf("/w", { type: "gpubay", job: "train" }), ["-C", "/w", "run", "--", "train"]);
    assert.deepEqual(argvOf("/w", { type: "gpubay", command: ["sh", "-c", "a; b"], gpus: 2, snapshot: true }), [
      "-C",
      "/w",
      "run",
      "--gpus=2",
      "--snapshot",
      "--",
      "sh",
      "-c",
      "a; b",
    ]);
    // Never an option of ours.
    assert.deepEqual(argvOf("/w", { type: "gpubay", job: "--help" }), ["-C", "/w", "run", "--", "--help"]);
  });

  it("that says something else is told what is wrong with it", () => {
    const wrong = [
      {},
      { job: 5 },
      { job: "a", command: ["b"] },
      { command: "python train.py" },
      { command: [] },
      { command: [1] },
      { job: "a", gpus: {} },
    ];
    for (const definition of wrong) {
      assert.ok("wrong" in argvOf("/w", { type: "gpubay", ...definition }), JSON.stringify(definition));
    }
  });
});
