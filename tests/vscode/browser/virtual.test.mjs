// A window whose folder is on no disk: nothing can be mounted from it, so nothing is started, and each command says what it needs.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import path from "node:path";
import { FIXTURES, vsix } from "../lib/lab.mjs";
import { stage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const scene = stage();
const { told } = scene;
let editor, window;
before(async () => {
    const virtual = JSON.stringify({ folders: [{ uri: "memfs:/reef", name: "reef" }], settings: {} });
    editor = await scene.start({
        files: { "reef.code-workspace": virtual },
        extensions: [path.join(FIXTURES, "memory-files"), vsix],
    });
    window = await scene.open("virtual", editor.urlOf("reef.code-workspace"));
});

/** Processes of the helper, whoever started them. */
const helpers = () => editor.processes().filter(({ argv }) => path.basename(argv[0]) === "gpubay");

test("commands say what they need", async () => {
    await until("the folder is open", async () => (await window.viewRows()).some((row) => row.includes("Dockerfile")));
    for (const command of [
        "Start GPU Container",
        "Select GPUs",
        "Open Shell",
        "Run Job…",
        "Initialize Workspace",
        "Attach Editor",
    ]) {
        await window.command(`GPU Bay: ${command}`);
        await told(/on no disk that a container could mount\. Clone the repository and open the clone\.$/);
        if (command === "Start GPU Container") {
            await window.screenshot("start");
        }
        await window.command("Notifications: Clear All Notifications");
        await until("it is gone", async () => (await window.notifications()).length === 0);
    }
});

test("the view says so, and the status bar nothing", async () => {
    await window.command("GPU Bay: Focus on Workspaces View");
    await until("the view says it", async () =>
        /on no disk that a container could mount/.test(await window.page.locator(".sidebar").innerText()),
    );
    await window.screenshot("view");
    assert.doesNotMatch(await window.page.locator(".sidebar").innerText(), /Start GPU Container/);
    assert.deepEqual(await window.ours(), []);
});

test("nothing was started or contacted", async () => {
    assert.deepEqual(helpers(), []);
    assert.deepEqual(await editor.containers(undefined, "/reef"), []);
    assert.deepEqual(window.errors, []);
});
