// What a yes is a yes to: following what vanished ends nothing, and what would end is named before it does.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { PACKAGES } from "../lib/packages.mjs";
import { RUNS, stage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const DOCKERFILE = [
    "FROM gpubay-lab/python",
    `RUN for name in a b c d e f g h; do mkdir -p ${PACKAGES}/reef_$name && : >${PACKAGES}/reef_$name/__init__.py; done`,
    "",
].join("\n");

const scene = stage();
const { asked, item } = scene;
let editor, window, container;
before(async () => {
    editor = await scene.start({
        settings: { "gpubay.onOpen": "start", "gpubay.python.configure": "never" },
        files: { Dockerfile: DOCKERFILE },
    });
    window = await scene.open("consent");
    await item(RUNS);
    [container] = await editor.containers("dev");
    await editor.dockerCli("exec", "-d", container, "sleep", "1000");
});

const runs = async () => (await editor.dockerCli("top", container)).includes("sleep 1000");

test("a yes to what has vanished recreates nothing, although the configuration has changed", async () => {
    editor.write("gpubay.toml", '[container]\nmemory = "1g"\n');
    await item(/Recreate…/);
    await editor.dockerCli("exec", "-u", "0", container, "sh", "-c", `rm -r ${PACKAGES}/*`);
    await window.command("GPU Bay: Start GPU Container");
    await asked(/Most of a folder of packages has vanished/);
    await window.screenshot("vanished");
    await window.answerDialog("Follow It");
    await until("it is done", async () => {
        const [notifications, dialog] = [await window.notifications(), await window.dialog()];
        const working = notifications.some(({ message }) => /^(Starting|Refreshing)/.test(message));
        return !dialog && !working && (await window.ours()).some((text) => RUNS.test(text));
    });
    await window.screenshot("followed");
    assert.deepEqual(await editor.containers("dev"), [container]);
    assert.ok(await runs());
    assert.deepEqual(
        (await window.notifications()).filter(({ buttons }) => buttons.includes("Show Log")),
        [],
    );
});

test("what would end with a stop is named, and a no leaves it", async () => {
    const { detail } = await until("it is asked", async () => {
        // What was begun before may be under way still: then that is said.
        await window.command("GPU Bay: Stop");
        await window.page.locator(".monaco-dialog-box:visible").first().waitFor({ timeout: 5000 });
        const dialog = await window.dialog();
        return /Something of yours runs/.test(dialog?.message) && dialog;
    });
    await window.screenshot("would-end");
    assert.match(detail, /sleep 1000/);
    // The container's own files stay.
    assert.doesNotMatch(detail, /outside of mounts/);
    await window.press("Escape");
    await item(RUNS);
    assert.ok(await runs());
});

test("what a recreate would lose is listed, and done with a yes alone", async () => {
    await window.command("GPU Bay: Recreate…");
    const { detail } = await asked(/Make the container of .* anew\?/);
    await window.screenshot("recreate");
    assert.match(detail, /memory/);
    assert.match(detail, /sleep 1000/);
    assert.equal(await window.focused(), "Keep It");
    await window.answerDialog("Recreate");
    await until("there is another one", async () => {
        const containers = await editor.containers("dev");
        return containers.length === 1 && containers[0] !== container;
    });
    await until("nothing is left to do", async () => !(await window.ours()).some((text) => /Recreate/.test(text)));
    await window.screenshot("recreated");
});
