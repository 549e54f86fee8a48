// The same completion with another language server: ty, which takes the workspace's `.venv` by itself.
import assert from "node:assert/strict";
import path from "node:path";
import { after, afterEach, before, test } from "node:test";
import { engine, FIXTURES, variable, vsix } from "../lib/lab.mjs";
import { browser, Window } from "../lib/page.mjs";
import { Editor } from "../lib/server.mjs";
import { until } from "../lib/until.mjs";

const PACKAGES = "/usr/lib/python3/dist-packages";
const MODULE = "def only_inside(width: int) -> int:\\n    return width\\n";
const DOCKERFILE = [
    "FROM gpubay-lab/python",
    `RUN mkdir ${PACKAGES}/kelpworks && printf '${MODULE}' >${PACKAGES}/kelpworks/__init__.py`,
    "",
].join("\n");

let chrome, editor, window;
before(async () => {
    chrome = await browser();
    editor = new Editor({
        settings: { "gpubay.onOpen": "nothing", "gpubay.python.configure": "never" },
        files: { Dockerfile: DOCKERFILE, "train.py": "import kelpworks\n\nkelpworks.\n" },
        extensions: [path.join(FIXTURES, "ty-client"), vsix],
        docker: engine("docker28"),
    });
    editor.env = { GPUBAY_TEST_HOSTTOOLS: variable("GPUBAY_TEST_HOSTTOOLS") };
    await editor.start();
    window = await Window.open(chrome, editor, "ty");
});
afterEach(async (t) => {
    if (!t.passed) {
        await window?.screenshot("failed");
    }
});
after(async () => {
    await chrome?.close();
    await editor?.stop();
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
        const running = (await window.ours()).some((text) => /^(GPU \d|CPU)/.test(text));
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
