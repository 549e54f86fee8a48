import assert from "node:assert/strict";
import { setTimeout } from "node:timers/promises";
import { Pace } from "../../src/pace";

describe("what comes too fast", () => {
  it("is passed on at once, and then now and then, the last of it too", async () => {
    let now = 0;
    const passed: number[] = [];
    const pace = new Pace<string>(() => passed.push(now), 5);
    for (now = 1; now <= 10_000; now += 1) {
      pace.tell("a");
    }
    now = 10_000;
    assert.deepEqual(passed, [1]);
    while (passed.at(-1) !== now) {
      await setTimeout(1);
    }
    assert.deepEqual(passed, [1, 10_000]);
  });

  it("does not hold up what is about something else, and nothing comes after the end", async () => {
    const passed: string[] = [];
    const pace = new Pace<string>((about) => passed.push(about), 1);
    pace.tell("a");
    pace.tell("b");
    pace.tell("a");
    assert.deepEqual(passed, ["a", "b"]);
    pace.dispose();
    await setTimeout(20);
    assert.deepEqual(passed, ["a", "b"]);
  });
});
