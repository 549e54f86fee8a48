// The helper dies, the window is reloaded during a build, the workspace is not trusted: nothing is lost, and each is said.
import assert from "node:assert/strict";
import { test } from "node:test";
import { RUNS, stage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const scene = stage({ each: "editor" });
const { item, told } = scene;
let editor, window;

async function open(name, wanted) {
    editor = await scene.start(wanted);
    window = await scene.open(name);
}

const helpers = () => editor.processes().filter(({ argv }) => /gpubay$/.test(argv[0]) && argv[1] === "serve");

test("a helper that was killed is followed by one that knows as much", async () => {
    await open("killed", {
        settings: { "gpubay.onOpen": "start" },
        files: { Dockerfile: "FROM gpubay-lab/busybox\n" },
    });
    await item(RUNS);
    const containers = await editor.containers("dev");
    const [{ pid }] = await until("there is one helper", () => helpers().length === 1 && helpers());
    process.kill(pid, "SIGKILL");
    await until("there is another one", () => helpers().some((helper) => helper.pid !== pid));
    await item(RUNS);
    await window.screenshot("again");
    assert.deepEqual(await editor.containers("dev"), containers);
});

test("a window that is reloaded during a build says so and begins again", async () => {
    await open("reloaded", {
        settings: { "gpubay.onOpen": "nothing" },
        files: { Dockerfile: "FROM gpubay-lab/busybox\nRUN echo begun; sleep 1000\n" },
    });
    await item(/./);
    await window.command("GPU Bay: Start GPU Container");
    await told(/begun/);
    await window.page.reload();
    await window.page.locator(".monaco-workbench .statusbar").waitFor();
    const { buttons } = await told(/was interrupted when its window closed/);
    await window.screenshot("interrupted");
    assert.deepEqual(buttons, ["Start Again"]);
    // The build did not go on behind its back: the workspace's lock is free.
    editor.write("Dockerfile", "FROM gpubay-lab/busybox\n");
    await window.answer(/was interrupted/, "Start Again");
    await item(RUNS);
    await window.screenshot("started-again");
});

test("a folder that is not trusted is left alone until it is", async () => {
    await open("untrusted", {
        trust: true,
        settings: { "gpubay.onOpen": "start", "security.workspace.trust.startupPrompt": "never" },
        files: { Dockerfile: "FROM gpubay-lab/busybox\n" },
    });
    await until("it is in restricted mode", async () =>
        (await window.statusBar()).some((text) => /Restricted Mode/.test(text)),
    );
    await window.command("GPU Bay: Start GPU Container");
    await told(/trust/i);
    await window.screenshot("refused");
    assert.deepEqual(await editor.containers(), []);
});
