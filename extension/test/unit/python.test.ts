import assert from "node:assert/strict";
import { type Change, type Inspected, changes, modeOf, refusal, stepOf } from "../../src/python/plan";

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
    // The user's own no is stronger than what a folder brings, whatever that is.
    assert.equal(modeOf({ globalValue: "never", workspaceValue: "always" }), "never");
    assert.equal(modeOf({ globalValue: "never", workspaceFolderValue: "ask" }), "never");
    // The nearest of the folder's own.
    assert.equal(modeOf({ workspaceValue: "never", workspaceFolderValue: "ask" }), "ask");
    assert.equal(modeOf({ globalValue: "always", workspaceValue: "always", workspaceFolderValue: "never" }), "never");
  });

  it("are asked about once, and a no to a folder holds there whatever comes", () => {
    const change = (key: string): Change => ({ key, value: "", tool: key });
    const [python, ruff] = [change("python.pythonPath"), change("ruff.path")];
    assert.equal(stepOf(undefined, {}, []), "nothing");
    assert.equal(stepOf(undefined, {}, [python]), "ask");
    assert.equal(stepOf(undefined, { asked: [python.key] }, [python]), "nothing");
    assert.equal(stepOf(undefined, { asked: [python.key] }, [python, ruff]), "ask");
    assert.equal(stepOf({ globalValue: "always" }, {}, [python]), "write");
    assert.equal(stepOf({ globalValue: "never" }, {}, [python]), "nothing");

    const no = { refused: refusal(undefined) };
    assert.equal(stepOf(undefined, no, [python, ruff]), "nothing");
    // Also where an answer in another folder said always.
    assert.equal(stepOf({ globalValue: "always" }, no, [python]), "nothing");
    // It is taken back in the folder's own settings.
    assert.equal(stepOf({ workspaceValue: "ask" }, no, [python]), "ask");
    assert.equal(stepOf({ globalValue: "always", workspaceValue: "always" }, no, [python]), "write");
    const toTheirs = { refused: refusal({ workspaceValue: "always" }) };
    assert.equal(stepOf({ workspaceValue: "always" }, toTheirs, [python]), "nothing");
    assert.equal(stepOf({ globalValue: "always" }, toTheirs, [python]), "write");
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
