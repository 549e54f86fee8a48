// «Cancel» of a progress notification, pressed during a build: it ends on the engine, too, and all is as it was before.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { before, test } from "node:test";
import { RUNS, stage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const BASE = "FROM gpubay-lab/busybox\n";

const seconds = () => 100_000 + Math.floor(Math.random() * 900_000);
// Images are named after it.
const workspace = `reef-${seconds()}`;

const scene = stage();
const { item, told } = scene;
let editor, window;
before(async () => {
    editor = await scene.start({ workspace, settings: { "gpubay.onOpen": "nothing" }, files: { Dockerfile: BASE } });
    window = await scene.open("cancel");
});

/** A step that takes longer than anybody waits, and that no other test has. */
const endless = (seconds) => `${BASE}RUN echo begun; sleep ${seconds}\n`;

/** Its processes; engines of the lab run on this machine. */
const steps = (seconds) =>
    readdirSync("/proc").filter((pid) => {
        try {
            return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, "utf8") === `sleep\0${seconds}\0`;
        } catch {
            return false; // It ended meanwhile.
        }
    });

const helper = () => editor.processes().find(({ argv }) => /gpubay$/.test(argv[0]) && argv[1] === "serve").pid;

/** Begins a build that does not end, and cancels it once its step runs. */
async function cancel(command, title, name) {
    const wanted = seconds();
    editor.write("Dockerfile", endless(wanted));
    await window.command(`GPU Bay: ${command}`);
    const { buttons } = await told(/begun/);
    assert.deepEqual(buttons, ["Cancel"]);
    await until("the step runs on the engine", () => steps(wanted).length > 0);
    await window.screenshot(`${name}-builds`);
    // It has no time to be quick about it: what is said meanwhile can be seen.
    process.kill(helper(), "SIGSTOP");
    await window.answer(title, "Cancel");
    const cleaning = await told(/Cancelling and cleaning up…/);
    await window.screenshot(`${name}-cleaning-up`);
    assert.match(cleaning.message, title);
    assert.deepEqual(cleaning.buttons, [], "it is cancelled already");
    process.kill(helper(), "SIGCONT");
    await until("the step is over on the engine", () => steps(wanted).length === 0);
    await until("the notification is gone", async () => (await window.notifications()).length === 0);
    await window.screenshot(`${name}-cancelled`);
    // Whoever has cancelled it needs no telling.
    assert.deepEqual(await window.keptNotifications(), []);
}

test("of the first start leaves nothing", async () => {
    await item(/^GPU: not started$/);
    await cancel("Start GPU Container", /Starting the container of reef-\d+: /, "start");
    await item(/^GPU: not started$/);
    assert.deepEqual(await editor.containers(), []);
    const images = ["images", "--quiet", "--filter", `reference=gpubay/${workspace}-*`];
    assert.equal(await editor.dockerCli(...images), "");
    assert.deepEqual(window.errors, []);
});

test("of a rebuild leaves the container as it is, and the next start is none of what was cancelled", async () => {
    editor.write("Dockerfile", BASE);
    await window.command("GPU Bay: Start GPU Container");
    await item(RUNS);
    const containers = await editor.containers("dev");
    await cancel("Rebuild", /Rebuilding the image of reef-\d+: /, "rebuild");
    await item(RUNS);
    assert.deepEqual(await editor.containers(), containers);
    // The folder is free again.
    await window.command("GPU Bay: Stop");
    await item(/^GPU: stopped$/);
    assert.deepEqual(window.errors, []);
});
