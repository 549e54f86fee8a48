// A window with two folders, one of which brings settings of its own that want something.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import path from "node:path";
import { engine, vsix } from "../lib/lab.mjs";
import { browser, Window } from "../lib/page.mjs";
import { Editor } from "../lib/server.mjs";
import { until } from "../lib/until.mjs";

let chrome, editor, window;
before(async () => {
    chrome = await browser();
    editor = await new Editor({
        workspace: "reefs",
        files: {
            "coral/Dockerfile": "FROM gpubay-lab/busybox\n",
            "kelp/Dockerfile": "FROM gpubay-lab/busybox\n",
            "kelp/.vscode/settings.json": '{ "gpubay.onOpen": "start" }\n',
            "all.code-workspace": '{ "folders": [{ "path": "coral" }, { "path": "kelp" }] }\n',
        },
        extensions: [vsix],
        docker: engine("docker28"),
    }).start();
    const file = path.join(editor.folder, "all.code-workspace");
    const url = `http://127.0.0.1:${editor.port}/?workspace=${encodeURIComponent(file)}`;
    window = await Window.open(chrome, editor, "roots", url);
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

const told = (pattern) =>
    until(`it is said: ${pattern}`, async () =>
        (await window.notifications()).find(({ message }) => pattern.test(message)),
    );
const containers = (folder) => editor.containers("dev", path.join(editor.folder, folder));

test("settings that came with a folder wait for the user's yes", async () => {
    const wanted = /The settings of kelp want its GPU container to be started/;
    assert.deepEqual((await told(wanted)).buttons, ["Yes", "No"]);
    await window.screenshot("asked");
    assert.deepEqual(await containers("kelp"), []);
    await window.answer(wanted, "Yes");
    await until("it is started", async () => (await containers("kelp")).length === 1);
});

test("the answer for the other folder is written there", async () => {
    const asked = /Start the GPU container of coral\?/;
    await told(asked);
    await window.answer(asked, "Never Ask");
    const settings = "coral/.vscode/settings.json";
    await until("it is written", () => /"gpubay.onOpen": "nothing"/.test(editor.read(settings)));
    assert.deepEqual(await containers("coral"), []);
});

const item = (pattern) =>
    until(`our item says ${pattern}`, async () => (await window.ours()).find((text) => pattern.test(text)));

test("the status bar names the folder of the active editor", async () => {
    await item(/^GPU: not started \(coral\)$/);
    await window.command("GPU Bay: Focus on Workspaces View");
    await until("the view has both", async () => {
        const rows = await window.viewRows();
        return rows.some((row) => /^coralnot started/.test(row)) && rows.some((row) => /^kelprunning/.test(row));
    });
    await window.screenshot("view");
    await window.openFile("kelp/Dockerfile");
    await item(/^(GPU \d.*|CPU) \(kelp\)$/);
    await window.screenshot("kelp");
});

test("what was agreed to is done without a question the next time", async () => {
    await window.command("GPU Bay: Stop");
    await item(/^GPU: stopped \(kelp\)$/);
    await window.page.reload();
    await until("it runs again", async () => (await window.viewRows()).some((row) => /^kelprunning/.test(row)));
    await window.screenshot("reloaded");
    const said = await window.notifications();
    assert.deepEqual(
        said.filter(({ message }) => /settings of|Start the GPU/.test(message)),
        [],
    );
    assert.deepEqual(await containers("coral"), []);
});
