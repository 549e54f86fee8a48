import assert from "node:assert/strict";
import {
  ATTACH,
  aliasOf,
  attacherFor,
  attacherOf,
  attachConfig,
  configName,
  isFoundByName,
} from "../../src/attach/config";
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

describe("who attaches", () => {
  it("is looked for only where it can run", () => {
    assert.equal(attacherFor("vscode", false), "ms-vscode-remote.remote-containers");
    assert.equal(attacherFor("cursor", false), "anysphere.remote-containers");
    // code-server has the scheme of VS Code.
    for (const [scheme, inBrowser] of [
      ["vscode", true],
      ["vscodium", false],
      ["code-oss", false],
    ] as const) {
      assert.equal(attacherFor(scheme, inBrowser), undefined);
    }
  });

  it("is Dev Containers, a fork's copy, or whoever on the editor's own side has the command", () => {
    assert.equal(
      attacherOf(() => true, []),
      "ms-vscode-remote.remote-containers",
    );
    assert.equal(
      attacherOf((id) => id.startsWith("anysphere."), []),
      "anysphere.remote-containers",
    );
    assert.equal(
      attacherOf(() => false, [ATTACH]),
      "unseen",
    );
    assert.equal(
      attacherOf(() => false, ["workbench.action.files.openFolder"]),
      undefined,
    );
  });

  it("reaches another machine by a name of its", () => {
    assert.equal(aliasOf(" gpu-server "), "gpu-server");
    assert.equal(aliasOf("me@10.0.0.7"), "me@10.0.0.7");
    for (const wrong of ["", "-oProxyCommand=x", "a b", "a/b", "ssh-remote+a"]) {
      assert.equal(aliasOf(wrong), undefined, wrong);
    }
  });
});

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

  it("is asked for by name only where the editor's own engine has the container", () => {
    const hex = (text: string) => Buffer.from(text, "utf8").toString("hex");
    const at = (said: string, more = "") => ({ ...target, authority: `attached-container+${hex(said)}${more}` });
    assert.equal(isFoundByName(at("gpubay-a-1234")), true);
    assert.equal(isFoundByName(at('{"containerName":"/gpubay-a-1234","settings":{"context":"far"}}')), false);
    assert.equal(isFoundByName(at("gpubay-a-1234", "@ssh-remote+gpu")), false);
    assert.equal(isFoundByName(target), false);
  });
});
