// A window with two folders, one of which brings settings of its own that want something.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import path from "node:path";
import { stage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const scene = stage();
const { item, told } = scene;
let editor, window;
before(async () => {
    editor = await scene.start({
        workspace: "reefs",
        files: {
            "coral/Dockerfile": "FROM gpubay-lab/busybox\n",
            "kelp/Dockerfile": "FROM gpubay-lab/busybox\n",
            "kelp/.vscode/settings.json": '{ "gpubay.onOpen": "start" }\n',
            "all.code-workspace": '{ "folders": [{ "path": "coral" }, { "path": "kelp" }] }\n',
        },
    });
    window = await scene.open("roots", editor.urlOf("all.code-workspace"));
});

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
