// The packed extension in an editor that a user opens.
import { before, test } from "node:test";
import { stage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const scene = stage();
let window;
before(async () => {
    await scene.start({ files: { "train.py": "print('hello')\n", "requirements.txt": "" } });
    window = await scene.open("install");
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
    const took = await window.activation("GPU Bay");
    await window.screenshot("running-extensions");
    // Wall time: on a machine that runs other tests it says more about those. The bundle's own share is limited in
    // tests/vscode/host/load.test.mjs, and `make bench-editor` holds it against the goal.
    t.diagnostic(`activation took ${took} ms`);
});
