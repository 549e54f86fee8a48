import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { WorkError } from "../../src/failure";
import { Crashes } from "../../src/helper/crashes";
import { locate, ownPath } from "../../src/helper/locate";

describe("the helper's program", () => {
  let folder: string;
  let program: string;
  before(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "gpubay-unit-"));
    program = path.join(folder, "gpubay");
    writeFileSync(program, "");
    chmodSync(program, 0o755);
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });
  const fails = (code: string) => (error: unknown) => error instanceof WorkError && error.failure.code === code;

  it("is never one that a workspace names", async () => {
    const setting = { defaultValue: "", workspaceValue: "/evil", workspaceFolderValue: "/evil" };
    assert.equal(ownPath(setting), undefined);
    assert.equal(await locate(setting, program), program);
    assert.equal(await locate({ ...setting, globalValue: program }, "/nowhere"), program);
  });

  it("is missed in a sentence", async () => {
    await assert.rejects(locate(undefined, "/nowhere/gpubay"), fails("helper_missing"));
    await assert.rejects(locate({ globalValue: "gpubay" }, program), fails("helper_setting"));
    await assert.rejects(locate({ globalValue: folder }, program), fails("helper_setting"));
    chmodSync(program, 0o644);
    await assert.rejects(locate(undefined, program), fails("helper_not_executable"));
  });

  it("is started again, but not for ever", () => {
    const crashes = new Crashes();
    assert.deepEqual(
      [1, 2, 3, 4, 5].map((time) => crashes.mayRestart(time)),
      [true, true, true, true, false],
    );
    assert.equal(crashes.mayRestart(10 * 60 * 1000), true);
    for (let time = 0; time < 6; time++) {
      crashes.mayRestart(time);
    }
    crashes.forget();
    assert.equal(crashes.mayRestart(7), true);
  });
});
