// Another program works on the folder of an open window: what is offered is offered once, waits its turn, and is about what was seen.
import assert from "node:assert/strict";
import { once } from "node:events";
import { before, test } from "node:test";
import { RUNS, stage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const BASE = "FROM gpubay-lab/busybox\n";
const ENDLESS = `${BASE}RUN echo begun; sleep 1000\n`;

const scene = stage();
const { asked, item, told } = scene;
let editor, window;
before(async () => {
    editor = await scene.start({
        settings: { "gpubay.onOpen": "start", "gpubay.python.configure": "never" },
        files: { Dockerfile: BASE },
    });
    window = await scene.open("together");
    await item(RUNS);
});

const container = async () => {
    const [only, ...others] = await editor.containers("dev");
    assert.deepEqual(others, []);
    return only;
};
/** Something of the user's, so that the container stays. */
const occupy = async () => editor.dockerCli("exec", "-d", await container(), "sleep", "1000");
const badge = () => window.statusItem("Recreate…");
const isGone = () =>
    until("nothing is offered any more", async () => !(await window.ours()).some((text) => /Recreate/.test(text)));
/** What a user would have to read and close. */
const failures = async () => (await window.notifications()).filter(({ buttons }) => buttons.includes("Retry"));

test("drift is offered once, says what is lost, and waits for the other program", async () => {
    await occupy();
    const old = await container();
    editor.write("Dockerfile", ENDLESS);
    await item(/Recreate…/);
    const other = await editor.beginGpubay(/begun/, "build");
    await window.screenshot("drifted");
    // The second click is none for a second question behind the first.
    await badge().dblclick();
    const { detail } = await asked(/^Make the container of .* anew\?/);
    await window.screenshot("asked");
    assert.match(detail, /sleep 1000/);
    await window.answerDialog("Recreate");
    await told(/another gpubay is at work on this workspace; waiting for it/);
    await window.screenshot("waits");
    assert.equal(await window.dialog(), undefined);
    assert.equal(await container(), old);
    editor.write("Dockerfile", `${BASE}ENV REEF=kelp\n`);
    other.kill("SIGINT");
    await once(other, "exit");
    await until("there is another one", async () => (await editor.containers("dev")).every((id) => id !== old));
    await item(RUNS);
    await isGone();
    assert.equal(await editor.dockerCli("exec", await container(), "sh", "-c", "echo $REEF"), "kelp");
    assert.deepEqual(await failures(), []);
});

test("a yes is about the container that was there when it was asked", async () => {
    await occupy();
    editor.write("Dockerfile", `${BASE}ENV REEF=coral\n`);
    await item(/Recreate…/);
    await badge().click();
    await asked(/anew\?$/);
    await editor.gpubay("up", "--recreate");
    await occupy();
    const theirs = await container();
    await window.answerDialog("Recreate");
    await told(/was made anew meanwhile, and is left as it is/);
    await window.screenshot("left");
    assert.equal(await container(), theirs);
    await isGone();
    assert.deepEqual(await failures(), []);
});

test("what is done already is not begun a second time, and can be cancelled from there", async () => {
    const before = await container();
    editor.write("Dockerfile", ENDLESS);
    await window.command("GPU Bay: Rebuild");
    await told(/begun/);
    for (const again of ["Rebuild", "Restart", "Start GPU Container"]) {
        await window.command(`GPU Bay: ${again}`);
        const { buttons } = await told(/Something else is under way here: Rebuilding…/);
        assert.deepEqual(buttons, ["Cancel It", "Retry"]);
        if (again !== "Start GPU Container") {
            await window.command("Notifications: Clear All Notifications");
            await until("it is gone", async () => (await failures()).length === 0);
        }
    }
    await window.screenshot("busy");
    await window.answer(/Something else is under way here/, "Cancel It");
    await item(RUNS);
    assert.equal(await container(), before);
    assert.deepEqual(window.errors, []);
});

test("a rebuild in each of two windows is one after the other, and a cancel in one ends its own alone", async () => {
    const before = await container();
    await occupy();
    const other = await scene.open("together-other");
    await item(RUNS, other);
    editor.write("Dockerfile", ENDLESS);
    await window.command("GPU Bay: Rebuild");
    await told(/begun/, window);
    await other.command("GPU Bay: Rebuild");
    await told(/another gpubay is at work on this workspace; waiting for it/, other);
    await other.screenshot("waits");
    // What it waits for is done; then it builds for itself, what there is by now.
    editor.write("Dockerfile", `${BASE}ENV REEF=sand\n`);
    await window.page.locator(".notification-list-item", { hasText: /begun/ }).first().hover();
    await window.answer(/begun/, "Cancel");
    await told(/The image is built\. The container still runs the one before/, other);
    await other.screenshot("built");
    await item(RUNS, window);
    await item(RUNS, other);
    assert.equal(await container(), before);
    // Both are told that the container is another than is wanted.
    await item(/Recreate…/, window);
    await item(/Recreate…/, other);
    await window.screenshot("both-drifted");
    assert.deepEqual([...window.errors, ...other.errors], []);
});
