// A helper that is missing, may not be executed, is of another version or meets a bug of its own: each a sentence with a button, and a way back.
import assert from "node:assert/strict";
import { chmodSync, readFileSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { before, test } from "node:test";
import { stage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const scene = stage({ each: "window" });
const { item, told } = scene;
let editor, window, installed, helper;
before(async () => {
    editor = await scene.start({
        settings: { "gpubay.onOpen": "nothing" },
        files: { Dockerfile: "FROM gpubay-lab/busybox\n" },
        // A bug where GPUs are followed, which they are once the view is seen.
        env: { GPUBAY_FAILPOINT: "serve.watch:panic" },
    });
    const name = readdirSync(editor.at("extensions")).find((name) => name.startsWith("gpubay.gpubay-"));
    installed = (...names) => editor.at("extensions", name, ...names);
    helper = installed("bin/gpubay");
});

const open = async (name) => (window = await scene.open(name));

test("one that is missing is told, and found again by Retry", async () => {
    renameSync(helper, `${helper}.away`);
    await open("helper-missing");
    const missing = /The helper .*\/bin\/gpubay is not there\. Install the extension again/;
    assert.deepEqual((await told(missing)).buttons, ["Show Extension", "Retry", "Show Log"]);
    await item(/^GPU Bay$/);
    await window.screenshot("missing");
    renameSync(`${helper}.away`, helper);
    await window.answer(missing, "Retry");
    await item(/^GPU: not started$/);
    await window.screenshot("found");
});

test("one that may not be executed is told, and a click on the item tells it again", async () => {
    chmodSync(helper, 0o644);
    await open("helper-not-executable");
    const refused = /The helper .*\/bin\/gpubay may not be executed/;
    assert.deepEqual((await told(refused)).buttons, ["Open Settings", "Retry", "Show Log"]);
    await window.screenshot("not-executable");
    await window.command("Notifications: Clear All Notifications");
    await until("nothing is said any more", async () => (await window.notifications()).length === 0);
    await window.page.locator('.statusbar-item[id^="gpubay."]').first().click();
    await told(refused);
    chmodSync(helper, 0o755);
    await window.answer(refused, "Retry");
    await item(/^GPU: not started$/);
    await window.screenshot("executable");
});

test("one that speaks another version of the protocol is refused with both versions", async () => {
    // As an update leaves it in a window that is still open: the two sides do not match.
    const bundle = installed("extension/dist/extension.js");
    const code = readFileSync(bundle, "utf8");
    const other = code.replace(/\bprotocol:\s*[\w$.]+,\s*trusted:/, "protocol:0,trusted:");
    assert.notEqual(other, code, "the bundle does not say its protocol where it is looked for");
    writeFileSync(bundle, other);
    try {
        await open("helper-other-version");
        const refused = /The extension \S+ speaks version 0 of the protocol, and this helper \(\S+\) version \d+/;
        assert.deepEqual((await told(refused)).buttons, ["Reload Window", "Open Settings", "Show Log"]);
        await item(/^GPU Bay$/);
        await window.screenshot("other-version");
        // It is not left behind.
        const helpers = () => editor.processes().filter(({ argv }) => argv[0] === helper && argv[1] === "serve");
        await until("no helper is left", () => helpers().length === 0);
        writeFileSync(bundle, code);
        await window.answer(refused, "Reload Window");
        await item(/^GPU: not started$/);
    } finally {
        writeFileSync(bundle, code);
    }
});

test("one that meets a bug of its own goes on, and tells of it with the way to the log", async () => {
    await open("helper-bug");
    await item(/^GPU: not started$/);
    await window.command("GPU Bay: Focus on Workspaces View");
    const bug = /met a bug of its own, and goes on: .*serve\.watch/;
    assert.deepEqual((await told(bug)).buttons, ["Show Log"]);
    await window.screenshot("bug");
    await window.answer(bug, "Show Log");
    await until("the log is shown", async () =>
        /bug\sat\sthe\sfailpoint/.test(await window.page.locator(".part.panel").innerText()),
    );
    await window.screenshot("log");
    await item(/^GPU: not started$/);
});
