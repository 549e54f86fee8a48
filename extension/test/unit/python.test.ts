import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { firstOf, places } from "../../src/python/hostPython";
import { type Change, type Inspected, changes, modeOf, refusal, stepOf } from "../../src/python/plan";

const everything: (program: string) => boolean = () => true;

type Settings = Record<string, Inspected>;

/** What would be written, with a Python of the host, or without. */
function written(settings: Settings, exists = everything, hostPython?: string): Promise<Change[]> {
  return changes(
    ".venv",
    (key) => settings[key],
    exists,
    () => Promise.resolve(hostPython),
  );
}

async function keys(settings: Settings, exists?: (program: string) => boolean): Promise<string[]> {
  return (await written(settings, exists)).map(({ key }) => key);
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

  it("are those of extensions that are there and of programs that the container has", async () => {
    assert.deepEqual(await keys({}), []);
    const settings = { "python.pythonPath": { defaultValue: "python" }, "ruff.path": { defaultValue: [] } };
    assert.deepEqual(await keys(settings), ["python.pythonPath", "ruff.path"]);
    assert.deepEqual(await keys(settings, (program) => program === "python"), ["python.pythonPath"]);
    assert.deepEqual(
      (await written(settings)).map(({ value }) => value),
      ["${workspaceFolder}/.venv/bin/python", ["${workspaceFolder}/.venv/bin/ruff"]],
    );
  });

  it("leave what anybody has set anywhere", async () => {
    for (const set of [
      { globalValue: "/usr/bin/python3" },
      { workspaceValue: "/usr/bin/python3" },
      { workspaceFolderValue: "" },
      { workspaceLanguageValue: "x" },
    ]) {
      const inspected = { defaultValue: "python", ...set };
      assert.deepEqual(await keys({ "python.defaultInterpreterPath": inspected }), [], JSON.stringify(set));
    }
    assert.deepEqual(await keys({ "ruff.path": { defaultValue: [], globalValue: [] } }), ["ruff.path"]);
  });

  it("name a Python of the host where a formatter's own server needs one, and leave the formatter alone without", async () => {
    const free = { defaultValue: [] };
    const both = { "black-formatter.path": free, "black-formatter.interpreter": free };
    assert.deepEqual(
      (await written(both, everything, "/usr/bin/python3")).map(({ key, value }) => [key, value]),
      [
        ["black-formatter.interpreter", ["/usr/bin/python3"]],
        ["black-formatter.path", ["${workspaceFolder}/.venv/bin/black"]],
      ],
    );
    assert.deepEqual(await keys(both), []);
    // One that the user has chosen stays.
    const chosen = { ...both, "black-formatter.interpreter": { ...free, globalValue: ["/opt/python3"] } };
    assert.deepEqual(await keys(chosen), ["black-formatter.path"]);
  });
});

describe("a Python of the host", () => {
  let folder: string;
  /** A program that answers as a Python of that age does. */
  const python = (name: string, text: string) => {
    const file = path.join(folder, name, "bin/python3");
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, text, { mode: 0o755 });
    return file;
  };
  beforeEach(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "gpubay-python-"));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  it("is the first that is new enough, and never a host env's or one of the workspace", async () => {
    const old = python("old", "#!/bin/sh\necho False\n");
    const broken = python("broken", "#!/bin/sh\nexit 1\n");
    const ours = python(".venv", "#!/bin/sh\necho True\n");
    writeFileSync(path.join(folder, ".venv/gpubay-env.json"), "{}");
    const right = python("right", "#!/bin/sh\necho True\n");
    const planted = python("workspace/tools", "#!/bin/sh\necho True\n");
    const workspace = path.join(folder, "workspace");
    const link = path.join(folder, "link");
    symlinkSync(planted, link);
    const all = [path.join(folder, "none"), old, broken, ours, planted, link, right];
    assert.equal(await firstOf(all, [workspace]), right);
    assert.equal(await firstOf(all.slice(0, -1), [workspace]), undefined);
  });

  it("is the system's before what PATH names", () => {
    assert.deepEqual(places("/opt/python/bin:bin:/usr/bin"), [
      "/usr/bin/python3",
      "/usr/local/bin/python3",
      "/opt/python/bin/python3",
    ]);
  });
});
