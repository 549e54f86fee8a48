// The same completion with another language server: ty, which takes the workspace's `.venv` by itself.
import assert from "node:assert/strict";
import path from "node:path";
import { before, test } from "node:test";
import { FIXTURES, variable, vsix } from "../lib/lab.mjs";
import { imageWith } from "../lib/packages.mjs";
import { RUNS, stage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const scene = stage();
let window;
before(async () => {
    await scene.start({
        settings: { "gpubay.onOpen": "nothing", "gpubay.python.configure": "never" },
        files: { Dockerfile: imageWith("kelpworks"), "train.py": "import kelpworks\n\nkelpworks.\n" },
        extensions: [path.join(FIXTURES, "ty-client"), vsix],
        env: { GPUBAY_TEST_HOSTTOOLS: variable("GPUBAY_TEST_HOSTTOOLS") },
    });
    window = await scene.open("ty");
});

const UNRESOLVED = /Cannot resolve .*kelpworks/;

test("before the start ty does not find the package", async () => {
    await window.openFile("train.py");
    await until("it says so", async () => (await window.problems()).some((row) => UNRESOLVED.test(row)));
    await window.screenshot("unresolved");
});

test("with the start it is resolved, without a setting and without a reload", async () => {
    await window.command("GPU Bay: Start GPU Container");
    await until("only the unfinished line is left to be said", async () => {
        const running = (await window.ours()).some((text) => RUNS.test(text));
        const rows = await window.problems();
        // While ty is started again nothing is said at all.
        return running && rows.some((row) => /identifier/.test(row)) && !rows.some((row) => UNRESOLVED.test(row));
    });
    await window.screenshot("resolved");
});

test("it completes from the package, and goes to its definition", async () => {
    await window.focusEditor();
    await window.goToLine(3, 11);
    const rows = await window.completions("only_inside", (rows) => rows.some((row) => row?.startsWith("only_inside")));
    await window.screenshot("completion");
    assert.ok(rows.length > 0);
    await window.press("Escape");
    await window.type("only_inside(3)");
    await window.goToLine(3, 13);
    await window.goToDefinition("__init__.py");
    await window.screenshot("definition");
    assert.match(await window.text(), /def only_inside\(width: int\) -> int:/);
});
