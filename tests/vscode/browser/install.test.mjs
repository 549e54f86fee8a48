// The packed extension in an editor that a user opens.
import { after, before, test } from "node:test";
import { engine, vsix } from "../lib/lab.mjs";
import { browser, Window } from "../lib/page.mjs";
import { Editor } from "../lib/server.mjs";
import { until } from "../lib/until.mjs";

let chrome, editor, window;
before(async () => {
    chrome = await browser();
    editor = await new Editor({
        files: { "train.py": "print('hello')\n", "requirements.txt": "" },
        extensions: [vsix],
        docker: engine("docker28"),
    }).start();
    window = await Window.open(chrome, editor, "install");
});
after(async () => {
    await chrome?.close();
    await editor?.stop();
});

test("the palette has the commands", async () => {
    await window.commands("GPU Bay:");
    await window.screenshot("palette");
    // Only so many are shown at once: each is looked for by its name.
    for (const label of ["Start GPU Container", "Select GPUs", "Attach Editor", "Doctor", "Initialize Workspace"]) {
        const name = `GPU Bay: ${label}`;
        await window.commands(name, (rows) => rows.some((row) => row?.startsWith(name)));
    }
    await window.press("Escape");
});

test("the status bar has one item of ours", async () => {
    await until("our item is there", async () => (await window.ours()).length === 1);
    await window.screenshot("status-bar");
});

test("the editor tells how long activation took", async (t) => {
    await window.command("Developer: Show Running Extensions");
    const row = window.page.locator(".runtime-extensions-editor .monaco-list-row", { hasText: "GPU Bay" }).first();
    const text = await until("it is listed with its time", async () => {
        const text = await row.textContent({ timeout: 2000 });
        return /Activation: \d+ms/.test(text) && text;
    });
    await window.screenshot("running-extensions");
    // Wall time: on a machine that runs other tests it says more about those. The bundle's own share is limited in
    // tests/vscode/host/load.test.mjs.
    t.diagnostic(`activation took ${/Activation: (\d+)ms/.exec(text)[1]} ms`);
});
