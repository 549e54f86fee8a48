import assert from "node:assert/strict";
import { type Inspected, changes, modeOf } from "../../src/python/plan";

const everything = () => true;

function keys(settings: Record<string, Inspected>, exists: (program: string) => boolean = everything): string[] {
  return changes(".venv", (key) => settings[key], exists).map(({ key }) => key);
}

describe("settings of Python tools", () => {
  it("are written unasked only where the user's own setting says so", () => {
    assert.equal(modeOf(undefined), "ask");
    assert.equal(modeOf({ globalValue: "always" }), "always");
    assert.equal(modeOf({ workspaceValue: "always" }), "ask");
    assert.equal(modeOf({ globalValue: "ask", workspaceFolderValue: "always" }), "ask");
    assert.equal(modeOf({ globalValue: "always", workspaceValue: "always" }), "always");
    assert.equal(modeOf({ globalValue: "always", workspaceValue: "ask" }), "ask");
    assert.equal(modeOf({ globalValue: "always", workspaceValue: "never" }), "never");
    assert.equal(modeOf({ globalValue: "never" }), "never");
  });

  it("are those of extensions that are there and of programs that the container has", () => {
    assert.deepEqual(keys({}), []);
    const settings = { "python.pythonPath": { defaultValue: "python" }, "ruff.path": { defaultValue: [] } };
    assert.deepEqual(keys(settings), ["python.pythonPath", "ruff.path"]);
    assert.deepEqual(
      keys(settings, (program) => program === "python"),
      ["python.pythonPath"],
    );
    assert.deepEqual(
      changes(".venv", (key) => settings[key as keyof typeof settings], everything).map(({ value }) => value),
      ["${workspaceFolder}/.venv/bin/python", ["${workspaceFolder}/.venv/bin/ruff"]],
    );
  });

  it("leave what anybody has set anywhere", () => {
    for (const set of [
      { globalValue: "/usr/bin/python3" },
      { workspaceValue: "/usr/bin/python3" },
      { workspaceFolderValue: "" },
      { workspaceLanguageValue: "x" },
    ]) {
      const inspected = { defaultValue: "python", ...set };
      assert.deepEqual(keys({ "python.defaultInterpreterPath": inspected }), [], JSON.stringify(set));
    }
    assert.deepEqual(keys({ "ruff.path": { defaultValue: [], globalValue: [] } }), ["ruff.path"]);
  });
});
