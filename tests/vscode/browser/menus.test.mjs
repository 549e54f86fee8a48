// A walk through the menus of the view: each row offers what can be done with it now, and does it from there.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import path from "node:path";
import { stage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const FOLDER = ["Doctor", "Show Log"];
const STOPPED = ["Start GPU Container", "Recreate…", "Rebuild", "Remove Containers…", "Show Log"];
const RUNNING = [
    ...["Attach Editor", "Open Shell", "Open Root Shell", "Select GPUs", "Refresh Completion", "Recreate…", "Rebuild"],
    ...["Restart", "Stop", "Remove Containers…", "Show Log"],
];
const PAUSED = ["Restart", "Stop", "Remove Containers…", "Show Log"];

const scene = stage();
const { asked, told } = scene;
let editor, window;
before(async () => {
    // Two, so that a command which does not know its row's folder has to ask.
    editor = await scene.start({
        workspace: "reefs",
        settings: { "gpubay.onOpen": "nothing", "gpubay.python.configure": "never" },
        files: {
            "coral/Dockerfile": "FROM gpubay-lab/busybox\n",
            "coral/gpubay.toml": '[jobs.train]\ncommand = ["sleep", "1000"]\ngpus = "none"\n',
            "kelp/notes.txt": "nothing to build\n",
            "all.code-workspace": '{ "folders": [{ "path": "coral" }, { "path": "kelp" }] }\n',
        },
    });
    window = await scene.open("menus", editor.urlOf("all.code-workspace"));
    await window.command("GPU Bay: Focus on Workspaces View");
});

const row = (pattern) =>
    until(`the view has a row ${pattern}`, async () => (await window.viewRows()).some((text) => pattern.test(text)));
const containers = () => editor.containers("dev", path.join(editor.folder, "coral"));
/** Since when it runs. */
const since = async () => editor.dockerCli("inspect", "--format", "{{.State.StartedAt}}", ...(await containers()));
const terminal = (name) =>
    until(`there is a terminal «${name}»`, async () =>
        (
            await window.page
                .locator(".terminal-outer-container, .terminal-tabs-entry, .single-terminal-tab")
                .allTextContents()
        ).some((text) => name.test(text)),
    );

test("a folder offers what its phase is for, and starts from there", async () => {
    await row(/^coralnot started/);
    await row(/^kelpnothing to build/);
    assert.deepEqual(await window.menu(/^coral/), ["Start GPU Container", "Run Job…", ...FOLDER]);
    // Its GPUs are those of the next folder, too: they are shown to who wants them.
    const rows = (await window.viewRows()).map((text) => text.trim());
    assert.deepEqual(rows, [
        ...["coralnot started", "Start GPU Container", "GPUs"],
        ...["kelpnothing to build", "Initialize…", "GPUs"],
    ]);
    await window.screenshot("stopped");
    assert.deepEqual(await window.menu(/^kelp/), ["Initialize Workspace", ...FOLDER]);
    await window.press("Escape");
    await window.page.locator(".sidebar .monaco-list-row:visible .monaco-tl-twistie.collapsed").first().click();
    await row(/^GPU 0/);
    await window.screenshot("unfolded");
    await window.pickInMenu(/^coral/, "Start GPU Container");
    await row(/^Container.*running/);
    assert.deepEqual(await window.menu(/^coral/), ["Run Job…", ...FOLDER]);
    await window.press("Escape");
});

test("a container that runs is worked with", async () => {
    assert.deepEqual(await window.menu(/^Container/), RUNNING);
    await window.screenshot("running");
    await window.pickInMenu(/^Container/, "Select GPUs");
    await until("the GPUs are listed", async () => (await window.rows()).some((text) => text?.includes("GPU 1")));
    await window.press("Escape");
    await window.pickInMenu(/^Container/, "Attach Editor");
    await told(/This editor cannot attach: /);
    await window.command("Notifications: Clear All Notifications");
    await window.pickInMenu(/^Container/, "Open Root Shell");
    await terminal(/GPU container, root \(coral\)/);
    const [before, started] = [await containers(), await since()];
    await until("the shell runs", async () => (await editor.dockerCli("top", ...before)).split("\n").length > 2);
    await window.screenshot("shell");
    await window.pickInMenu(/^Container/, "Restart");
    await asked(/Something of yours runs in “coral”/);
    await window.answerDialog("End It and Go On");
    await until("it was restarted", async () => (await since()) !== started);
    await row(/^Container.*· running/);
    assert.deepEqual(await containers(), before);
});

test("a job is followed, ended and taken away", async () => {
    await window.pickInMenu(/^coral/, "Run Job…");
    await until("the job is listed", async () => (await window.rows()).some((text) => text?.startsWith("train")));
    await window.pick("train");
    await row(/^train-\w{6}running/);
    assert.deepEqual(await window.menu(/^train-/), ["Show Output", "Stop Job", "Remove Job"]);
    await window.screenshot("job");
    await window.pickInMenu(/^train-/, "Show Output");
    await terminal(/train-\w{6}: output/);
    await window.pickInMenu(/^train-/, "Stop Job");
    assert.match((await asked(/Something of yours runs in “coral”/)).detail, /• train-\w{6}: it runs sleep 1000/);
    await window.answerDialog("End It and Go On");
    await row(/^train-\w{6}ended with/);
    assert.deepEqual(await window.menu(/^train-/), ["Show Output", "Remove Job", "Remove Ended Jobs"]);
    await window.pickInMenu(/^train-/, "Remove Job");
    await until("its row is gone", async () => (await window.viewRows()).every((text) => !text.startsWith("train-")));
});

test("one that is paused can be ended, and one that is stopped is made anew or removed", async () => {
    const before = await containers();
    await editor.dockerCli("pause", ...before);
    await row(/^Container.*paused/);
    assert.deepEqual(await window.menu(/^Container/), PAUSED);
    await window.screenshot("paused");
    await window.pickInMenu(/^Container/, "Stop");
    await row(/^Container.*stopped/);
    assert.deepEqual(await window.menu(/^Container/), STOPPED);
    await window.pickInMenu(/^Container/, "Recreate…");
    await asked(/^Make the container of “coral” anew\?/);
    await window.answerDialog("Recreate");
    await row(/^Container.*running/);
    assert.notDeepEqual(await containers(), before);
    await window.pickInMenu(/^Container/, "Remove Containers…");
    await asked(/^Remove the containers of “coral”\?/);
    await window.answerDialog("Remove");
    await until("its row is gone", async () => (await window.viewRows()).every((text) => !/^Container/.test(text)));
    await window.screenshot("removed");
    assert.deepEqual(await containers(), []);
    // Nobody was asked which folder is meant, and nothing failed.
    const said = await window.notifications();
    assert.deepEqual(
        said.filter(({ buttons }) => buttons.includes("Show Log")),
        [],
    );
});
