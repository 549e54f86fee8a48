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

test("beside a folder on a disk it is said to be on none, and the other works wholly", async () => {
    await scene.closeWindows();
    editor.write("coral/Dockerfile", "FROM gpubay-lab/busybox\n");
    editor.write("coral/train.py", "print('coral')\n");
    const folders = [{ path: "coral" }, { uri: "memfs:/reef", name: "reef" }];
    editor.write("both.code-workspace", JSON.stringify({ folders, settings: { "gpubay.onOpen": "nothing" } }));
    window = await scene.open("virtual-beside", editor.urlOf("both.code-workspace"));
    await scene.item(/^GPU: not started \(coral\)$/);
    await window.command("GPU Bay: Focus on Workspaces View");
    const row = (pattern) =>
        until(`the view has a row ${pattern}`, async () =>
            (await window.viewRows()).some((text) => pattern.test(text)),
        );
    await row(/^coralnot started$/);
    await row(/^reefon no disk$/);
    await window.command("GPU Bay: Start GPU Container");
    await row(/^coralrunning$/);
    await row(/^Container.*running$/);
    await scene.item(/^(GPU \d|CPU).*\(coral\)$/);
    await window.screenshot("runs");
    const containers = await editor.containers("dev", path.join(editor.folder, "coral"));
    assert.equal(containers.length, 1);
    // What is in the other one cannot run, and that is said instead of a question which folder is meant.
    await window.command("View: Show Explorer");
    await until("its file is listed", async () => {
        if ((await window.viewRows()).includes("reef.py")) {
            return true;
        }
        await window.viewRow(/^reef$/).click();
        await window.viewRow(/^reef\.py$/).waitFor({ timeout: 3000 });
        return true;
    });
    await window.viewRow(/^reef\.py$/).dblclick();
    await window.tab("reef.py").waitFor();
    await window.command("GPU Bay: Run Python File in Container");
    await told(/^“reef” is on no disk that a container could mount\. Clone the repository and open the clone\.$/);
    await window.screenshot("said");
    await window.command("GPU Bay: Stop");
    await scene.item(/^GPU: stopped \(coral\)$/);
    assert.deepEqual(window.errors, []);
});
