import assert from "node:assert/strict";
import { attachConfig, configName } from "../../src/attach/config";
import type { AttachReport } from "../../src/protocol";

const target: AttachReport = {
  container: { name: "gpubay-a-1234", running: true },
  folder: "/app",
  user: "ada",
  extensions: ["ms-python.python"],
  editors: [],
  opened: false,
  notes: [],
  uri: "vscode-remote://attached-container+00/app",
  authority: "attached-container+00",
};

describe("the attach configuration", () => {
  it("names folder, user and extensions", () => {
    assert.deepEqual(attachConfig(undefined, target), {
      workspaceFolder: "/app",
      remoteUser: "ada",
      extensions: ["ms-python.python"],
      madeBy: "GPU Bay",
    });
    assert.deepEqual(Object.keys(attachConfig(undefined, { ...target, user: null, extensions: [] }) ?? {}), [
      "workspaceFolder",
      "madeBy",
    ]);
  });

  it("is written again where it is ours, and never over the user's own", () => {
    assert.equal(attachConfig('{"madeBy":"GPU Bay","workspaceFolder":"/old"}', target)?.workspaceFolder, "/app");
    for (const own of ["{}", '{"workspaceFolder":"/mine"}', "// a comment\n{}", "", "null", "[]"]) {
      assert.equal(attachConfig(own, target), undefined, own);
    }
  });

  it("is one file, whatever the container is called", () => {
    assert.equal(configName("gpubay-a-1234"), "gpubay-a-1234.json");
    assert.equal(configName("../x/y"), "..%2Fx%2Fy.json");
  });
});
