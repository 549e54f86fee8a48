// «Attach Editor»: the window of another editor in the container, and what is said where there is none.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import path from "node:path";
import { FIXTURES, vsix } from "../lib/lab.mjs";
import { RUNS, stage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const files = {
    Dockerfile: "FROM gpubay-lab/busybox\n",
    ".vscode/extensions.json": '{ "recommendations": ["ms-python.python"] }\n',
};
const settings = { "gpubay.onOpen": "start" };

const scene = stage({ each: "editor" });
let editor, window;

async function opened(name, extensions) {
    editor = await scene.start({ files, settings, extensions });
    window = await scene.open(name);
    // By itself: that is what the setting says.
    await scene.item(RUNS);
    await window.screenshot("started-by-itself");
}

for (const [name, id] of [
    ["attach-recorder", "ms-vscode-remote.remote-containers"],
    ["attach-recorder-cursor", "anysphere.remote-containers"],
]) {
    test(`with ${id} a window opens in the container, after its configuration is written`, async () => {
        await opened(name, [path.join(FIXTURES, name), vsix]);
        const pages = [];
        window.page.context().on("page", (page) => pages.push(page));
        await window.command("GPU Bay: Attach Editor");
        const page = await until("another window opens", () => pages[0]);
        // A browser's editor keeps of the address only the folder; the rest of it is tested where it is made.
        await until("it is a window of the folder inside", () => page.url().endsWith("?folder=/workspace"));
        await window.screenshot("attached");
        const [id8] = await editor.containers("dev");
        const container = (await editor.dockerCli("inspect", "--format", "{{.Name}}", id8)).slice(1);
        const config = editor.at("data/User/globalStorage", id, "nameConfigs", `${container}.json`);
        assert.ok(existsSync(config), config);
        const { workspaceFolder, extensions } = JSON.parse(readFileSync(config, "utf8"));
        assert.deepEqual([workspaceFolder, extensions], ["/workspace", ["ms-python.python"]]);
    });
}

test("a folder that is opened the first time can be started and attached to from then on", async () => {
    editor = await scene.start({ files, extensions: [path.join(FIXTURES, "attach-recorder"), vsix] });
    window = await scene.open("attach-asked");
    const pages = [];
    window.page.context().on("page", (page) => pages.push(page));
    const asked = /Start the GPU container of project\?/;
    const { buttons } = await scene.told(asked);
    await window.screenshot("asked");
    assert.deepEqual(buttons, ["Start", "Always Start", "Always Start and Attach", "Never Ask"]);
    await window.answer(asked, "Always Start and Attach");
    await until("another window opens", () => pages[0]);
    assert.match(editor.read(".vscode/settings.json"), /"gpubay\.onOpen": "startAndAttach"/);
    await window.screenshot("attached");
});

test("without it what can be done instead is said", async () => {
    await opened("attach-nobody", [vsix]);
    await window.command("GPU Bay: Attach Editor");
    const said = await until("it is said", async () =>
        (await window.notifications()).find(({ message }) => /This editor cannot attach: /.test(message)),
    );
    await window.screenshot("cannot-attach");
    assert.deepEqual(said.buttons, ["Open Shell"]);
    await window.answer(/This editor cannot attach: /, "Open Shell");
    await window.page.locator(".terminal-wrapper.active").first().waitFor();
    await window.screenshot("shell");
});
