// A user's day: from the palette to a container, completion from it, other GPUs, a build that fails.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { renameSync } from "node:fs";
import { languageClient, variable, vsix } from "../lib/lab.mjs";
import { imageWith } from "../lib/packages.mjs";
import { stage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const DOCKERFILE = imageWith("reefworks");

const FAILS = "print('no coral here')\nraise SystemExit(3)\n";

/** What the driver tells: the lab's CDI devices, with so many MiB in use on each. */
function driver(...used) {
    const gpus = used.map(
        (mib, index) => `[gpu]
uuid = GPU-11111111-2222-3333-4444-00000000000${index}
name = NVIDIA L4
memory = ${mib} / 24576
utilization = ${index * 40}
`,
    );
    // Whoever reads it while it is written must not see half of it.
    editor.writeAt(editor.at("run/driver.new"), ["driver = 580.65.06\ncuda = 13000\n", ...gpus].join(""));
    renameSync(editor.at("run/driver.new"), editor.at("run/driver"));
}

const scene = stage();
const { item } = scene;
let editor, window;
before(async () => {
    const wanted = {
        workspace: "coral reef ü",
        // Without it the text of terminals is in no element.
        settings: { "gpubay.onOpen": "nothing", "terminal.integrated.gpuAcceleration": "off" },
        files: { Dockerfile: DOCKERFILE, "train.py": "import reefworks\n\nreefworks.\n", "fails.py": FAILS },
        extensions: [languageClient("pyright"), vsix],
    };
    await scene.start(wanted, (made) => {
        editor = made;
        editor.env = { LD_LIBRARY_PATH: variable("GPUBAY_TEST_NVML"), GPUBAY_FAKE_NVML: editor.at("run/driver") };
        driver(512, 6144);
    });
    window = await scene.open("day");
});

const viewRow = (pattern) =>
    until(`the view has a row ${pattern}`, async () => (await window.viewRows()).find((text) => pattern.test(text)));

test("the view has the GPUs before anything is started, and what starts it", async () => {
    await item(/^GPU: not started$/);
    await window.command("GPU Bay: Focus on Workspaces View");
    await viewRow(/^Start GPU Container$/);
    await viewRow(/^GPU 1\D*6\.0 \/ 24 GiB · 40 %/);
    await window.screenshot("view-before");
    driver(512, 7168);
    await viewRow(/^GPU 1\D*7\.0 \/ 24 GiB · 40 %/);
    driver(512, 6144);
    await window.command("GPU Bay: Select GPUs");
    await until("GPUs are listed", async () => (await window.rows()).some((row) => row?.includes("GPU 1")));
    const title = await window.input.locator(".quick-input-title").textContent();
    assert.match(title, /^GPUs of coral reef ü \(\w+\): a choice builds and starts the container$/);
    const advice = () => window.input.locator("input[type=text]").first().getAttribute("placeholder");
    assert.equal(await advice(), "Nothing is picked yet: the configuration decides");
    await window.screenshot("picker-before");
    await window.press("Escape");
    assert.deepEqual(await editor.containers(), []);
    await window.command("View: Show Explorer");
});

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

test("a script that fails at once has been launched", async () => {
    await window.openFile("fails.py");
    await window.command("GPU Bay: Run Python File in Container");
    const said = await until("it has ended", async () => {
        const rows = await window.page.locator(".terminal-wrapper.active .xterm-rows").first().textContent();
        const text = rows.replace(/\s+/g, "");
        return text.includes("exitcode:3") && text;
    });
    await window.screenshot("script-failed");
    assert.match(said, /^nocoralhere/, "nothing of a command line stands above it");
    assert.doesNotMatch(said, /failedtolaunch/);
    await window.command("Terminal: Kill All Terminals");
});

test("a click on the item picks GPUs", async () => {
    // With what is used of its memory, as the driver tells it, and told again when that changes.
    await item(/^GPU 0 · 0\.5 \/ 24 GiB$/);
    driver(3072, 6144);
    await item(/^GPU 0 · 3\.0 \/ 24 GiB$/);
    await window.screenshot("memory");
    // The second half of a double click does not close what the first one opens.
    await window.page.locator('.statusbar-item[id^="gpubay."]').first().dblclick();
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
    // Nobody has picked yet: what the configuration says is ticked.
    const before = await window.ticked();
    assert.ok(before.length === 1 && before[0].includes("Automatic"), `ticked: ${before.join("; ")}`);
    await window.pick("Automatic");
    await until("it is said what nothing means", async () =>
        /^Nothing is ticked: CPU only/.test(
            await window.input.locator("input[type=text]").first().getAttribute("placeholder"),
        ),
    );
    await window.screenshot("picker-nothing");
    await window.pick("GPU 1");
    await window.screenshot("picked");
    // What the driver tells changes while it is open; what is ticked stays.
    driver(512, 18432);
    await until("the picker is told of it", async () =>
        (await window.rows()).some((row) => row?.includes("18 / 24 GiB") && !row.includes("6.0 / 24 GiB")),
    );
    await window.screenshot("picker-live");
    const ticks = await window.ticked();
    assert.ok(ticks.length === 1 && ticks[0].includes("GPU 1"), `ticked: ${ticks.join("; ")}`);
    const containers = await editor.containers("dev");
    await window.press("Enter");
    // What starts next has the other GPU, in the same container.
    await until("what starts next has it", async () =>
        /^GPU-\S+1$/.test(await editor.gpubay("exec", "--", "printenv", "CUDA_VISIBLE_DEVICES")),
    );
    assert.deepEqual(await editor.containers("dev"), containers);
    await item(/^GPU 1 · 18 \/ 24 GiB$/);
    await window.screenshot("selected");
});

test("the view lists the container, and its GPUs as they are", async () => {
    await window.command("GPU Bay: Focus on Workspaces View");
    await viewRow(/^ContainerGPU \d · running/);
    await viewRow(/^GPU 1\D*18 \/ 24 GiB · 40 %/);
    await window.screenshot("view");
    driver(512, 12288);
    await viewRow(/^GPU 1\D*12 \/ 24 GiB · 40 %/);
    await window.screenshot("view-live");
    await window.command("View: Show Explorer");
});

test("a failing line of the Dockerfile becomes a problem on that line", async () => {
    editor.write("Dockerfile", `${DOCKERFILE}RUN echo no coral here >&2; exit 3\n`);
    await window.command("GPU Bay: Rebuild");
    await until("its end is told", async () =>
        (await window.notifications()).some(({ buttons }) => buttons.includes("Open File")),
    );
    await window.screenshot("build-failed");
    // With the reason, which the step has printed.
    const said = await window.notifications();
    assert.ok(
        said.some(({ message }) => /^Dockerfile:3: .* failed with exit code 3: no coral here\./.test(message)),
        JSON.stringify(said),
    );
    const problem = await until("the problem is listed", async () =>
        (await window.problems()).find((row) => row?.includes("no coral here")),
    );
    await window.screenshot("problems");
    assert.match(problem, /line 3\b/);
    // What ran goes on running.
    await item(/^GPU \d/);
    await window.command("GPU Bay: Focus on Workspaces View");
    await until("the view says so in a line", async () =>
        (await window.viewRows()).some((row) => /^Dockerfile:3: /.test(row)),
    );
    await window.screenshot("view-failed");
    // Rewritten and saved it is no problem any more, before anything is built.
    editor.write("Dockerfile", `${DOCKERFILE}RUN echo coral\n`);
    await until("no problem is listed", async () =>
        (await window.problems()).every((row) => !row?.includes("no coral here")),
    );
    await until("the view says nothing of it", async () =>
        (await window.viewRows()).every((row) => !/^Dockerfile:3/.test(row)),
    );
    await window.screenshot("mended");
});

test("a recreate keeps the GPUs that were picked, says so, and closes a shell quietly", async () => {
    await window.command("GPU Bay: Open Shell");
    await window.page.locator(".terminal-wrapper.active").first().waitFor();
    await until(
        "the shell runs",
        async () => (await editor.dockerCli("top", (await editor.containers("dev"))[0])).split("\n").length > 2,
    );
    const before = await editor.containers("dev");
    // Not the plain sh that an entry of nobody's choice names.
    assert.match(await editor.dockerCli("top", before[0]), /\/bin\/bash/);
    await window.command("GPU Bay: Recreate…");
    const dialog = await until("it is asked", async () => window.dialog());
    await window.screenshot("recreate");
    assert.match(dialog.detail, /The GPUs that were picked stay: GPU 1\./);
    assert.equal(await window.focused(), "Keep It", "an Enter that was meant for something else ends nothing");
    await window.answerDialog("Recreate");
    await until("there is another one", async () => {
        const containers = await editor.containers("dev");
        return containers.length === 1 && containers[0] !== before[0];
    });
    await item(/^GPU 1 ·/);
    await until(
        "the terminal is closed",
        async () => (await window.page.locator(".terminal-wrapper.active").count()) === 0,
    );
    await window.screenshot("recreated");
    const said = await window.notifications();
    assert.deepEqual(
        said.filter(({ message }) => /terminal|exit code/i.test(message)),
        [],
    );
});
