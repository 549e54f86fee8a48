// What changes around an open window: another window of the same folder, trust that is given, an engine that goes, GPUs that are lost.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmodSync, chownSync, rmSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { engine, REPOSITORY, user } from "../lib/lab.mjs";
import { RUNS, stage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const scene = stage({ each: "editor" });
const { asked, item, told } = scene;
const files = { Dockerfile: "FROM gpubay-lab/busybox\n" };

test("two windows on one folder share its container, and each shows what the other does", async () => {
    const editor = await scene.start({ files, settings: { "gpubay.onOpen": "nothing" } });
    const [first, second] = [await scene.open("two-first"), await scene.open("two-second")];
    await item(/^GPU: not started$/, first);
    await item(/^GPU: not started$/, second);
    // Both at once: the second does not make another one.
    await Promise.all([first, second].map((window) => window.command("GPU Bay: Start GPU Container")));
    await item(RUNS, first);
    await item(RUNS, second);
    await first.screenshot("both-run");
    const containers = await editor.containers("dev");
    assert.equal(containers.length, 1);
    await first.command("GPU Bay: Stop");
    await item(/^GPU: stopped$/, first);
    await item(/^GPU: stopped$/, second);
    await second.screenshot("other-stopped");
    await second.command("GPU Bay: Start GPU Container");
    await item(RUNS, first);
    assert.deepEqual(await editor.containers("dev"), containers);
});

test("trust that is given in an open window is enough to begin", async () => {
    const editor = await scene.start({
        files,
        trust: true,
        settings: { "gpubay.onOpen": "start", "security.workspace.trust.startupPrompt": "never" },
    });
    const window = await scene.open("trusted");
    await until("it is in restricted mode", async () =>
        (await window.statusBar()).some((text) => /Restricted Mode/.test(text)),
    );
    await item(/^GPU Bay$/, window);
    assert.deepEqual(await editor.containers(), []);
    await window.command("Workspaces: Manage Workspace Trust");
    const trust = window.page.locator(".workspace-trust-editor .monaco-button", { hasText: /^Trust$/ }).first();
    await trust.waitFor();
    await window.screenshot("before");
    await trust.click();
    await item(RUNS, window);
    await window.screenshot("after");
    assert.equal((await editor.containers("dev")).length, 1);
});

/** An engine's socket that can go away, and the engine stays for all others. */
class Link {
    constructor(target) {
        Object.assign(this, { target, open: new Set() });
    }

    async up(path = this.path) {
        this.path = path;
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
    const link = new Link(engine("docker28").replace(/^unix:\/\//, ""));
    t.after(() => link.down());
    const editor = await scene.start({ files, settings: { "gpubay.onOpen": "start" } }, async (made) => {
        await link.up(made.at("run/engine.sock"));
        made.env = { DOCKER_HOST: `unix://${link.path}` };
    });
    const window = await scene.open("engine-gone");
    await item(RUNS, window);
    const containers = await editor.containers("dev");
    await link.down();
    await until("the item is an error", async () =>
        /error/.test(await window.page.locator('.statusbar-item[id^="gpubay."]').first().getAttribute("class")),
    );
    await window.screenshot("gone");
    await window.command("GPU Bay: Start GPU Container");
    const { message, buttons } = await told(/engine/i);
    await window.screenshot("told");
    assert.ok(message.includes(link.path), message);
    assert.deepEqual(buttons, ["Retry", "Doctor", "Show Log"]);
    await link.up();
    await item(RUNS, window);
    await window.screenshot("back");
    assert.deepEqual(await editor.containers("dev"), containers);
});

test("GPUs that are lost under a window are told, and come back with a container made anew", async () => {
    const nodes = '[container]\ndevices = ["/dev/full:/dev/nvidia0", "/dev/full:/dev/nvidiactl"]\n';
    const editor = await scene.start({ files, settings: { "gpubay.onOpen": "start" } }, (editor) =>
        editor.writeAt(editor.at("home/.config/gpubay/config.toml"), nodes),
    );
    const window = await scene.open("gpus-lost");
    await item(RUNS);
    const [container] = await editor.containers("dev");
    await editor.dockerCli("exec", "--detach", container, "sleep", "1000");
    // The devices' permission is taken away, as systemd does it.
    const pid = await editor.dockerCli("inspect", "--format", "{{.State.Pid}}", container);
    await promisify(execFile)(path.join(REPOSITORY, "tests/lab/deny"), [pid, "1:7"]);
    await item(/^GPUs lost$/);
    const { message, buttons } = await told(/has lost its GPUs/);
    assert.match(message, /its device rules were changed/);
    assert.deepEqual(buttons, ["Recreate…", "Doctor"]);
    await window.screenshot("told");
    await window.answer("has lost its GPUs", "Recreate…");
    const { detail } = await asked(/anew\?$/);
    assert.match(detail, /its GPUs are lost: .*sleep 1000/s);
    await window.screenshot("asked");
    await window.answerDialog("Recreate");
    await item(RUNS);
    await window.screenshot("mended");
    const [anew] = await editor.containers("dev");
    assert.notEqual(anew, container);
});
