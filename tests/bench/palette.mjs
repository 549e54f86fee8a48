// What a user waits for after a command of the palette, in a real editor: the container that runs, and the first right completion of
// a package that only the container has, by ty. `make bench-editor` runs it; times are medians, by the browser's own clock.
import { readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { engine, languageClient, vsix } from "../vscode/lib/lab.mjs";
import { browser, Window } from "../vscode/lib/page.mjs";
import { imageWith } from "../vscode/lib/packages.mjs";
import { Editor } from "../vscode/lib/server.mjs";
import { RUNS } from "../vscode/lib/stage.mjs";
import { until } from "../vscode/lib/until.mjs";

const ROUNDS = 5;
const RUNNING = RUNS.source;
const COMMAND = "GPU Bay: Start GPU Container";

const chrome = await browser();
const editor = new Editor({
    settings: { "gpubay.onOpen": "nothing", "gpubay.python.configure": "never" },
    files: { Dockerfile: imageWith("kelpworks"), "train.py": "import kelpworks\n\nkelpworks.\n" },
    extensions: [languageClient("ty"), fileURLToPath(new URL("marks", import.meta.url)), vsix],
    docker: engine("docker28"),
});
const marks = editor.at("run/marks.json");
editor.env = { GPUBAY_BENCH_MARKS: marks };

/**
 * Milliseconds from the click on the command until `seen` is true in the page, which is looked at with each frame. `meanwhile`: what
 * the user does until then, one time after the other.
 */
async function timed(window, seen, argument, meanwhile) {
    await window.commands(COMMAND, (rows) => rows.some((row) => row?.startsWith(COMMAND)));
    const row = window.input.locator(`.monaco-list-row[aria-label^="${COMMAND}"]`).first();
    await window.page.evaluate(() => {
        const begin = () => (globalThis.begun = performance.now());
        document.addEventListener("mousedown", begin, { once: true, capture: true });
    });
    await row.click();
    let over = false;
    const tries = (async () => {
        while (meanwhile && !over) {
            await meanwhile();
        }
    })();
    const wait = window.page.waitForFunction(seen, argument, { polling: "raf", timeout: 90_000 });
    const ended = await wait.finally(() => (over = true));
    await tries;
    return (await ended.jsonValue()) - (await window.page.evaluate(() => globalThis.begun));
}

/**
 * Milliseconds that the extension took of the extension host: to be loaded, and to be activated. The editor's own figure begins when
 * it asks for all the extensions of that moment, which it then loads one after the other.
 */
async function activation(window) {
    rmSync(marks, { force: true });
    await window.command("Marks: Write");
    const all = await until("the marks are written", () => JSON.parse(readFileSync(marks, "utf8")));
    const at = (what) => all.find(({ name }) => name === `code/extHost/${what}/gpubay.gpubay`).startTime;
    const took = (what) => at(`did${what}`) - at(`will${what}`);
    return took("LoadExtensionCode") + took("ActivateExtension");
}

const running = (pattern) => {
    const items = [...document.querySelectorAll('.statusbar-item[id^="gpubay."]')];
    return items.some((item) => new RegExp(pattern).test(item.textContent.trim())) && performance.now();
};

const completed = () => {
    const rows = [...document.querySelectorAll(".suggest-widget.visible .monaco-list-row")];
    return rows.some((row) => row.ariaLabel?.startsWith("only_inside")) && performance.now();
};

async function stopped(window) {
    await editor.gpubay("down", "--force");
    await until("it is stopped", async () => !(await window.ours()).some((text) => RUNS.test(text)));
}

/** As in a folder that was never started: the environment outside is gone, with `clean` the mirror, too, and ty is a new one. */
async function withoutEnvironment(window, clean) {
    rmSync(path.join(editor.folder, ".venv"), { recursive: true });
    if (clean) {
        rmSync(editor.at("home/.cache/gpubay"), { recursive: true });
    }
    await window.page.reload();
    await window.page.locator(".monaco-workbench .statusbar").waitFor();
    await until("our item is there", async () => (await window.ours()).length);
    await window.openFile("train.py");
    const unresolved = /Cannot resolve .*kelpworks/;
    await until("ty finds nothing", async () => (await window.problems()).some((row) => unresolved.test(row)));
    await window.focusEditor();
    await window.goToLine(3, 11);
}

/** As somebody who tries again until it comes. */
const asks = (window) => async () => {
    await window.press("Escape", "Control+Space");
    const list = window.page.locator(".suggest-widget.visible .monaco-list-row").first();
    await list.waitFor({ timeout: 500 }).catch(() => {});
};

const median = (times) => [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)];
const rows = [];
try {
    await editor.start();
    const window = await Window.open(chrome, editor, "bench");
    await window.openFile("train.py");
    // The image is built, and the mirror made, by a first start.
    await timed(window, running, RUNNING);
    const [starts, warm, cold, own, told] = [[], [], [], [], []];
    for (let round = 0; round < ROUNDS; round += 1) {
        await window.page.reload();
        await window.page.locator(".monaco-workbench .statusbar").waitFor();
        await until("our item is there", async () => (await window.ours()).length);
        own.push(await activation(window));
        told.push(await window.activation("GPU Bay"));
    }
    await window.openFile("train.py");
    for (let round = 0; round < ROUNDS; round += 1) {
        await stopped(window);
        starts.push(await timed(window, running, RUNNING));
        for (const [times, clean] of [
            [warm, false],
            [cold, true],
        ]) {
            await stopped(window);
            await withoutEnvironment(window, clean);
            times.push(await timed(window, completed, undefined, asks(window)));
            await window.press("Escape");
        }
    }
    const row = (what, times, limit) => {
        const value = median(times);
        const all = times.map((time) => Math.round(time)).join(", ");
        rows.push(`| ${what} | ${Math.round(value)} ms | ${limit} ms | ${value <= limit ? "yes" : "no"} | ${all} |`);
    };
    row("(no command) the extension is loaded and activated", own, 50);
    row("(no command) the same by the editor's own figure, with what else it loads at that moment", told, 50);
    row("the container runs, image cached", starts, 1000);
    row("ty completes from a package inside, image and mirror there", warm, 2000);
    row("the same, no cache of GPU Bay's there", cold, 5000);
} finally {
    await chrome.close();
    await editor.stop();
}
console.log("| From the palette's command until | Median | Goal | Met | All |\n| --- | ---: | ---: | --- | --- |");
console.log(rows.join("\n"));
