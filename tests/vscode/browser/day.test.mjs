// A user's day: from the palette to a container, completion from it, other GPUs, a build that fails.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import path from "node:path";
import { engine, FIXTURES, vsix } from "../lib/lab.mjs";
import { browser, Window } from "../lib/page.mjs";
import { Editor } from "../lib/server.mjs";
import { until } from "../lib/until.mjs";

// A package that neither the host nor the workspace has.
const MODULE = "def only_inside(width: int) -> int:\\n    return width\\n";
const PACKAGES = "/usr/lib/python3/dist-packages";
const DOCKERFILE = [
    "FROM gpubay-lab/python",
    `RUN mkdir ${PACKAGES}/reefworks && printf '${MODULE}' >${PACKAGES}/reefworks/__init__.py`,
    "",
].join("\n");

let chrome, editor, window;
before(async () => {
    chrome = await browser();
    editor = await new Editor({
        workspace: "coral reef ü",
        settings: { "gpubay.onOpen": "nothing" },
        files: { Dockerfile: DOCKERFILE, "train.py": "import reefworks\n\nreefworks.\n" },
        extensions: [path.join(FIXTURES, "pyright-client"), vsix],
        docker: engine("docker28"),
    }).start();
    window = await Window.open(chrome, editor, "day");
});
afterEach(async (t) => {
    if (!t.passed) {
        await window?.screenshot("failed");
    }
});
after(async () => {
    await chrome?.close();
    await editor?.stop();
});

const item = (pattern) =>
    until(`our item says ${pattern}`, async () => (await window.ours()).find((text) => pattern.test(text)));

test("Start GPU Container shows its progress and ends in the status bar", async () => {
    await item(/GPU/);
    await window.screenshot("opened");
    await window.command("GPU Bay: Start GPU Container");
    await until("progress is shown", async () =>
        (await window.notifications()).some(({ message }) => /^Starting the container of coral reef ü: /.test(message)),
    );
    await window.screenshot("progress");
    await item(/^(GPU \d|CPU)/);
    await window.screenshot("started");
    assert.equal((await editor.containers("dev")).length, 1);
});

test("Python tools are pointed at the container with the user's consent", async () => {
    const asked = /use the container's Python/;
    await until("it asks", async () => (await window.notifications()).some(({ message }) => asked.test(message)));
    await window.screenshot("python-question");
    await window.answer(asked, "Yes");
    await until("the setting is written", () => editor.read(".vscode/settings.json").includes("/.venv/bin/python"));
});

test("completion knows a package that only the container has", async () => {
    await window.openFile("train.py");
    await window.goToLine(3, 11);
    const rows = await window.completions("only_inside", (rows) => rows.some((row) => row?.startsWith("only_inside")));
    await window.screenshot("completion");
    await window.press("Escape");
    assert.ok(rows.length > 0);
    await window.type("only_inside(3)");
});

test("its definition opens", async () => {
    await window.goToLine(3, 13);
    await window.goToDefinition("__init__.py");
    await window.screenshot("definition");
    assert.match(await window.text(), /def only_inside\(width: int\) -> int:/);
});

test("a click on the item picks GPUs", async () => {
    await item(/^GPU 0$/);
    await window.page.locator('.statusbar-item[id^="gpubay."]').first().click();
    const rows = await until("GPUs are listed", async () => {
        const rows = await window.rows();
        return rows.some((row) => row?.includes("GPU 1")) && rows;
    });
    await window.screenshot("picker");
    for (const choice of ["Automatic", "All", "None", "GPU 0"]) {
        assert.ok(
            rows.some((row) => row?.includes(choice)),
            `no «${choice}» among ${rows.join("; ")}`,
        );
    }
    await window.pick("GPU 1");
    await window.pick("GPU 0");
    await window.screenshot("picked");
    await window.press("Enter");
    // A container that has one GPU may call it 0, whichever it is: what it was given is asked of the engine.
    const given = async () => {
        const containers = await editor.containers("dev");
        const format = "{{range .HostConfig.DeviceRequests}}{{.DeviceIDs}}{{end}}";
        return Promise.all(containers.map((id) => editor.dockerCli("inspect", "--format", format, id)));
    };
    await until("the container has the other GPU", async () => (await given()).join() === "[nvidia.com/gpu=1]");
    await item(/^GPU \d$/);
    await window.screenshot("selected");
});

test("a failing line of the Dockerfile becomes a problem on that line", async () => {
    editor.write("Dockerfile", `${DOCKERFILE}RUN echo no coral here >&2; exit 3\n`);
    await window.command("GPU Bay: Rebuild");
    await until("its end is told", async () =>
        (await window.notifications()).some(({ buttons }) => buttons.includes("Open File")),
    );
    await window.screenshot("build-failed");
    const problem = await until("the problem is listed", async () =>
        (await window.problems()).find((row) => row?.includes("no coral here")),
    );
    await window.screenshot("problems");
    assert.match(problem, /line 3\b/);
    // What ran goes on running.
    await item(/^GPU \d$/);
});
