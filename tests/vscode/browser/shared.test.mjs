// What changes around an open window: another window of the same folder, trust that is given, an engine that goes.
import assert from "node:assert/strict";
import { chmodSync, chownSync, rmSync } from "node:fs";
import net from "node:net";
import { after, afterEach, before, test } from "node:test";
import { engine, user, vsix } from "../lib/lab.mjs";
import { browser, Window } from "../lib/page.mjs";
import { Editor } from "../lib/server.mjs";
import { until } from "../lib/until.mjs";

let chrome, editor, windows;
before(async () => {
    chrome = await browser();
});
afterEach(async (t) => {
    for (const window of windows ?? []) {
        if (!t.passed) {
            await window.screenshot("failed");
        }
        await window.close();
    }
    await editor?.stop();
});
after(async () => {
    await chrome?.close();
});

async function started(wanted) {
    windows = [];
    editor = new Editor({
        files: { Dockerfile: "FROM gpubay-lab/busybox\n" },
        extensions: [vsix],
        docker: engine("docker28"),
        ...wanted,
    });
    await editor.start();
}
async function open(name) {
    const window = await Window.open(chrome, editor, name);
    windows.push(window);
    return window;
}
const item = (window, pattern) =>
    until(`our item says ${pattern}`, async () => (await window.ours()).find((text) => pattern.test(text)));
const told = (window, pattern) =>
    until(`it is said: ${pattern}`, async () =>
        (await window.notifications()).find(({ message }) => pattern.test(message)),
    );
const RUNS = /^(GPU \d|CPU)/;

test("two windows on one folder share its container, and each shows what the other does", async () => {
    await started({ settings: { "gpubay.onOpen": "nothing" } });
    const [first, second] = [await open("two-first"), await open("two-second")];
    await item(first, /^GPU: not started$/);
    await item(second, /^GPU: not started$/);
    // Both at once: the second does not make another one.
    await Promise.all([first, second].map((window) => window.command("GPU Bay: Start GPU Container")));
    await item(first, RUNS);
    await item(second, RUNS);
    await first.screenshot("both-run");
    const containers = await editor.containers("dev");
    assert.equal(containers.length, 1);
    await first.command("GPU Bay: Stop");
    await item(first, /^GPU: stopped$/);
    await item(second, /^GPU: stopped$/);
    await second.screenshot("other-stopped");
    await second.command("GPU Bay: Start GPU Container");
    await item(first, RUNS);
    assert.deepEqual(await editor.containers("dev"), containers);
});

test("trust that is given in an open window is enough to begin", async () => {
    await started({
        trust: true,
        settings: { "gpubay.onOpen": "start", "security.workspace.trust.startupPrompt": "never" },
    });
    const window = await open("trusted");
    await until("it is in restricted mode", async () =>
        (await window.statusBar()).some((text) => /Restricted Mode/.test(text)),
    );
    await item(window, /^GPU Bay$/);
    assert.deepEqual(await editor.containers(), []);
    await window.command("Workspaces: Manage Workspace Trust");
    const trust = window.page.locator(".workspace-trust-editor .monaco-button", { hasText: /^Trust$/ }).first();
    await trust.waitFor();
    await window.screenshot("before");
    await trust.click();
    await item(window, RUNS);
    await window.screenshot("after");
    assert.equal((await editor.containers("dev")).length, 1);
});

/** An engine's socket that can go away, and the engine stays for all others. */
class Link {
    constructor(path, target) {
        Object.assign(this, { path, target, open: new Set() });
    }

    async up() {
        this.server = net.createServer({ allowHalfOpen: true }, (here) => {
            const there = net.connect({ path: this.target, allowHalfOpen: true });
            for (const [from, to] of [
                [here, there],
                [there, here],
            ]) {
                this.open.add(from);
                from.on("error", () => to.destroy());
                from.on("close", () => this.open.delete(from));
                from.pipe(to);
            }
        });
        await new Promise((listening) => this.server.listen(this.path, listening));
        chmodSync(this.path, 0o600);
        if (process.getuid() === 0) {
            chownSync(this.path, user.uid, user.gid);
        }
    }

    async down() {
        const closed = new Promise((closed) => this.server.close(closed));
        this.open.forEach((socket) => socket.destroy());
        await closed;
        rmSync(this.path, { force: true });
    }
}

test("an engine that stops under a window is told, and found when it is back", async (t) => {
    windows = [];
    editor = new Editor({
        settings: { "gpubay.onOpen": "start" },
        files: { Dockerfile: "FROM gpubay-lab/busybox\n" },
        extensions: [vsix],
        docker: engine("docker28"),
    });
    const socket = editor.at("run/engine.sock");
    const link = new Link(socket, engine("docker28").replace(/^unix:\/\//, ""));
    await link.up();
    t.after(() => link.down());
    editor.env = { DOCKER_HOST: `unix://${socket}` };
    await editor.start();
    const window = await open("engine-gone");
    await item(window, RUNS);
    const containers = await editor.containers("dev");
    await link.down();
    await until("the item is an error", async () =>
        /error/.test(await window.page.locator('.statusbar-item[id^="gpubay."]').first().getAttribute("class")),
    );
    await window.screenshot("gone");
    await window.command("GPU Bay: Start GPU Container");
    const { message, buttons } = await told(window, /engine/i);
    await window.screenshot("told");
    assert.ok(message.includes(socket), message);
    assert.deepEqual(buttons, ["Retry", "Doctor", "Show Log"]);
    await link.up();
    await item(window, RUNS);
    await window.screenshot("back");
    assert.deepEqual(await editor.containers("dev"), containers);
});
