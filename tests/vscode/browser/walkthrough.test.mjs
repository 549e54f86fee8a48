// The walkthrough: each of its steps is ticked by what was reached, also by what had been reached before its page was opened.
import assert from "node:assert/strict";
import { test } from "node:test";
import { RUNS, stage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const files = {
    Dockerfile: "FROM gpubay-lab/python\n",
    "gpubay.toml": '[jobs.reef]\ncommand = ["true"]\n',
};
const scene = stage({ each: "editor" });
const { item } = scene;
let window;

const TITLE = "Get started with GPU Bay";

/** The steps that are ticked, by their ids. */
async function ticked() {
    const steps = window.page.locator(".gettingStartedContainer .getting-started-step");
    return steps.evaluateAll((all) =>
        all.filter((step) => step.ariaChecked === "true").map((step) => step.dataset.stepId.split("#").at(-1)),
    );
}

const ticks = (...wanted) =>
    until(`these steps are ticked: ${wanted.join(", ")}`, async () => {
        const now = await ticked();
        return wanted.length === now.length && wanted.every((step) => now.includes(step));
    });

/** Presses a button of a step, as the page offers it; the palette's Escape would leave the page. */
async function press(id, button) {
    const step = window.page.locator(`.gettingStartedContainer .getting-started-step[data-step-id$="#${id}"]`);
    if ((await step.getAttribute("aria-expanded")) !== "true") {
        await step.click();
        // It takes the focus when it has unfolded, from a list that is open, too.
        await until("the step has the focus", () => step.evaluate((element) => element === document.activeElement));
    }
    await step.locator(".monaco-button", { hasText: button }).click();
}

/** A step that takes the focus once more closes the list: whoever sees that presses again. */
async function runJob(name) {
    const list = window.page.locator(".quick-input-widget:visible");
    const row = list.locator(".monaco-list-row").filter({ hasText: name }).first();
    await until(`the job ${name} is picked`, async () => {
        if ((await list.count()) === 0) {
            await press("run", "Run Job…");
        }
        const picked = () => row.click({ timeout: 2000 });
        return picked().then(
            () => true,
            () => false,
        );
    });
}

test("all four steps are ticked, one after the other", async () => {
    await scene.start({ files, settings: { "gpubay.onOpen": "nothing", "gpubay.python.configure": "never" } });
    window = await scene.open("walkthrough");
    // There is something to build from before the page is opened.
    await item(/^GPU: not started$/);
    await window.command("Welcome: Open Walkthrough...");
    await window.pick(TITLE);
    await ticks("image");
    await window.screenshot("image");
    await press("start", "Start GPU Container");
    await item(RUNS);
    await ticks("image", "start", "complete");
    await window.screenshot("complete");
    await runJob("reef");
    await ticks("image", "start", "complete", "run");
    await window.screenshot("run");
});

test("in a window that opens with the welcome page what runs already is ticked", async () => {
    const editor = await scene.start({
        files,
        settings: {
            ...{ "gpubay.onOpen": "nothing", "gpubay.python.configure": "never" },
            "workbench.startupEditor": "welcomePage",
        },
    });
    await editor.gpubay("up");
    window = await scene.open("walkthrough-welcome");
    await item(RUNS);
    await window.screenshot("welcome");
    await window.page.locator(".gettingStartedContainer .getting-started-category", { hasText: TITLE }).first().click();
    await ticks("image", "start", "complete");
    await window.screenshot("ticked");
    assert.deepEqual(window.errors, []);
});
