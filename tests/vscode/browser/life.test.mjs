// The helper dies, the window is reloaded during a build, the workspace is not trusted: nothing is lost, and each is said.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { engine, vsix } from "../lib/lab.mjs";
import { browser, Window } from "../lib/page.mjs";
import { Editor } from "../lib/server.mjs";
import { until } from "../lib/until.mjs";

let chrome, editor, window;
before(async () => {
    chrome = await browser();
});
afterEach(async (t) => {
    if (!t.passed) {
        await window?.screenshot("failed");
    }
    await editor?.stop();
});
after(async () => {
    await chrome?.close();
});

async function open(name, wanted) {
    editor = await new Editor({ extensions: [vsix], docker: engine("docker28"), ...wanted }).start();
    window = await Window.open(chrome, editor, name);
}

const item = (pattern) =>
    until(`our item says ${pattern}`, async () => (await window.ours()).find((text) => pattern.test(text)));
const told = (pattern) =>
    until(`it is said: ${pattern}`, async () =>
        (await window.notifications()).find(({ message }) => pattern.test(message)),
    );
const helpers = () => editor.processes().filter(({ argv }) => /gpubay$/.test(argv[0]) && argv[1] === "serve");

test("a helper that was killed is followed by one that knows as much", async () => {
    await open("killed", {
        settings: { "gpubay.onOpen": "start" },
        files: { Dockerfile: "FROM gpubay-lab/busybox\n" },
    });
    await item(/^(GPU \d|CPU)/);
    const containers = await editor.containers("dev");
    const [{ pid }] = await until("there is one helper", () => helpers().length === 1 && helpers());
    process.kill(pid, "SIGKILL");
    await until("there is another one", () => helpers().some((helper) => helper.pid !== pid));
    await item(/^(GPU \d|CPU)/);
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
    await item(/^(GPU \d|CPU)/);
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
