// A window that is attached to the container: its editor runs in there, where no engine is.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { renameSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { Inside } from "../lib/inside.mjs";
import { engine, REPOSITORY } from "../lib/lab.mjs";
import { stage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const UUIDS = [0, 1].map((index) => `GPU-11111111-2222-3333-4444-00000000000${index}`);
const TRAIN = `import os, sys
open("trained", "w").write(sys.prefix + " " + os.environ["CUDA_VISIBLE_DEVICES"])
`;
const ELSEWHERE = "Do that in the window of the folder outside.";

/** What a GPU of the tests has instead of its nodes. */
const DEVICES = 'devices = ["/dev/full:/dev/nvidia0", "/dev/full:/dev/nvidiactl"]\n';

const scene = stage();
const { item, told } = scene;
let outside, inside, window, containers;

/** What the driver tells, outside and inside: so many MiB in use on each. */
function driver(...used) {
    const gpus = used.map(
        (mib, index) => `[gpu]
uuid = ${UUIDS[index]}
name = NVIDIA L4
memory = ${mib} / 24576
utilization = ${index * 40}
`,
    );
    outside.writeAt(outside.at("driver/new"), ["driver = 580.65.06\ncuda = 13000\n", ...gpus].join(""));
    renameSync(outside.at("driver/new"), outside.at("driver/scenario"));
}

/** The containers of the workspace, and since when they run. What fetched packages may just be on its way out. */
async function running() {
    const all = [...(await outside.containers("dev")), ...(await outside.containers("job"))];
    return Promise.all(all.map((id) => outside.dockerCli("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", id)));
}

const selectedOutside = () => outside.gpubay("exec", "--", "printenv", "CUDA_VISIBLE_DEVICES");

/** A command for a shell that is about to open, and what it answers: as many lines as there are in it. */
async function answered(command, file) {
    await until("a shell has the focus", () =>
        window.page.evaluate(() => document.activeElement.classList.contains("xterm-helper-textarea")),
    );
    await window.type(`(${command}) > ${file}; exit\n`);
    await until("the shell has ended", async () => !(await window.page.locator(".terminal-wrapper.active").count()));
    return outside.read(file).trim().split("\n");
}

before(async () => {
    const files = {
        Dockerfile: "FROM gpubay-lab/python\n",
        "gpubay.toml": '[jobs.train]\ncommand = ["python3", "train.py"]\n',
        "train.py": TRAIN,
        ".vscode/tasks.json": JSON.stringify({
            version: "2.0.0",
            tasks: [{ label: "overnight", type: "gpubay", job: "train" }],
        }),
    };
    outside = scene.editor = Inside.outside({ files, docker: engine("docker28") }, DEVICES);
    driver(512, 6144);
    await outside.install();
    await outside.gpubay("up");
    const [container] = await outside.containers("dev");
    containers = await running();
    // What would start and attach in every other window.
    inside = await new Inside(outside, {
        "gpubay.onOpen": "startAndAttach",
        // What it shows can be read, then.
        "terminal.integrated.gpuAcceleration": "off",
    }).start(container);
    window = await scene.open("inside", inside.url);
    await window.keepSaid();
});
after(() => inside?.stop());

test("the item says which GPUs the container has, and nothing is started or attached by itself", async () => {
    await item(/^GPU 0 · 0\.5 \/ 24 GiB$/);
    driver(3072, 6144);
    await item(/^GPU 0 · 3\.0 \/ 24 GiB$/);
    const tooltip = await window.tooltip('.statusbar-item[id^="gpubay."]');
    await window.screenshot("item");
    assert.match(tooltip, /^GPU 0 = cuda:0 inside: NVIDIA L4 .* 3\.0 \/ 24 GiB/);
    assert.match(tooltip, /^This window is in the container, and sees its GPUs only\.$/m);
    assert.doesNotMatch(tooltip, /Injection/);
    assert.deepEqual(await window.said(), []);
});

test("the view shows the container and its GPUs, and offers nothing that is done outside", async () => {
    await window.command("GPU Bay: Focus on Workspaces View");
    const row = (pattern) =>
        until(`the view has a row ${pattern}`, async () =>
            (await window.viewRows()).find((text) => pattern.test(text)),
        );
    await row(/^ContainerGPU 0 · running$/);
    await row(/^GPU 1\D*6\.0 \/ 24 GiB · 40 %/);
    await window.page.locator(".sidebar .monaco-list-row", { hasText: "Container" }).first().hover();
    const buttons = window.page.locator(".sidebar .action-label:visible");
    await until("what the row offers is shown", async () => {
        const shown = await buttons.evaluateAll((all) => all.map((button) => button.ariaLabel));
        return shown.join() === "Refresh,Views and More Actions...,Open Shell";
    });
    await window.screenshot("view");
});

test("what is selected inside counts for what starts next, inside and outside", async () => {
    await window.page.locator('.statusbar-item[id^="gpubay."]').first().click();
    const rows = await until("GPUs are listed", async () => {
        const rows = await window.rows();
        return rows.some((row) => row?.includes("GPU 1")) && rows;
    });
    await window.screenshot("picker");
    assert.equal(await window.input.locator(".quick-input-title").textContent(), "GPUs of workspace");
    assert.ok(
        rows.some((row) => /All, every GPU of the container/.test(row)),
        rows.join("; "),
    );
    assert.ok(!rows.some((row) => /nobody/.test(row)), rows.join("; "));
    await window.pick("GPU 1");
    await window.press("Enter");
    await item(/^GPU 1 · 6\.0 \/ 24 GiB$/);
    await window.screenshot("selected");
    assert.equal(await selectedOutside(), UUIDS[1]);
    await window.command("GPU Bay: Open Shell");
    const [visible, python] = await answered("printenv CUDA_VISIBLE_DEVICES; command -v python", "shell");
    assert.equal(visible, UUIDS[1]);
    // Although the editor has taken `PATH` from a login shell.
    assert.equal(python, "/workspace/.venv/bin/python");
});

test("what is selected outside is shown inside, and counts for what starts next there", async () => {
    await outside.gpubay("up", "--gpus", "none");
    await item(/^CPU$/);
    await window.command("GPU Bay: Open Shell");
    assert.deepEqual(await answered('echo "<${CUDA_VISIBLE_DEVICES-all of them}>"', "shell"), ["<>"]);
    await outside.gpubay("up", "--gpus", "device=0");
    await item(/^GPU 0 · 3\.0 \/ 24 GiB$/);
    await window.openFile("train.py");
    await window.command("GPU Bay: Run Python File in Container");
    await until("it has run", () => outside.read("trained").endsWith(`/workspace/.venv ${UUIDS[0]}`));
    await window.screenshot("ran");
    await window.command("Terminal: Kill All Terminals");
    await until("its terminal is gone", async () => !(await window.page.locator(".terminal-wrapper.active").count()));
    assert.deepEqual(await window.said(), []);
});

test("nothing is started, stopped, attached or written from inside", async () => {
    const commands = [
        ...["Start GPU Container", "Stop", "Restart", "Rebuild", "Recreate…", "Attach Editor", "Run Job…"],
        ...["Refresh Completion", "Initialize Workspace", "Open Root Shell", "Doctor"],
    ];
    for (const command of commands) {
        await window.command(`GPU Bay: ${command}`);
        const said = await until(`«${command}» says something`, async () => (await window.notifications())[0]);
        assert.deepEqual(said, { message: ELSEWHERE, buttons: [] }, command);
        if (command !== commands.at(-1)) {
            await window.dismiss();
        }
    }
    await window.screenshot("refused");
    await window.dismiss();
    assert.deepEqual(await running(), containers);
});

test("a job of tasks.json says so when it is run, and the terminal profile is a shell of this window", async () => {
    await window.command("Tasks: Run Task");
    await window.pick("overnight");
    const panel = window.page.locator(".terminal-wrapper.active").first();
    await until("it says so", async () => (await panel.innerText()).replaceAll("\u00a0", " ").includes(ELSEWHERE));
    await window.screenshot("task");
    await window.command("Terminal: Kill All Terminals");
    await until("its terminal is gone", async () => !(await window.page.locator(".terminal-wrapper.active").count()));
    await window.palette("Create New Terminal (With Profile)");
    await window.pick("Create New Terminal (With Profile)");
    await window.pick("GPU container");
    // In a remote window the editor makes a profile's terminal without showing it.
    await until("the profile's terminal is shown", async () => {
        const tab = window.page.locator(".panel .terminal-tab, .panel .single-terminal-tab", {
            hasText: "GPU container",
        });
        if (await tab.count()) {
            return true;
        }
        await window.command("View: Toggle Terminal");
        await tab.first().waitFor({ timeout: 5000 });
        return true;
    });
    await window.screenshot("profile");
    assert.deepEqual(await answered("printenv CUDA_VISIBLE_DEVICES", "shell"), [UUIDS[0]]);
    assert.deepEqual(await running(), containers);
});

test("an agent of another version is a sentence that says what to do", async (t) => {
    const socket = path.join(await inside.runFolder(), "agent.sock");
    // It stands for the agent of an older gpubay, of which it has only the greeting.
    const version = Buffer.from("0.0.9");
    const welcome = Buffer.from([0, 1, version.length, ...version]);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(welcome.length);
    const old = net.createServer((client) => client.on("error", () => {}).write(Buffer.concat([length, welcome])));
    renameSync(socket, `${socket}.kept`);
    await new Promise((listening) => old.listen(socket, listening));
    outside.own(socket);
    t.after(() => old.close());
    await window.page.reload();
    await until("the item is an error", async () =>
        /error/.test(await window.page.locator('.statusbar-item[id^="gpubay."]').first().getAttribute("class")),
    );
    await window.keepSaid();
    await window.page.locator('.statusbar-item[id^="gpubay."]').first().click();
    const { message, buttons } = await told(/another version of gpubay/);
    await window.screenshot("other-version");
    assert.match(
        message,
        /^The agent in the container speaks another version .* «Recreate…» in the window of the folder outside puts the present one in\.$/,
    );
    assert.deepEqual(buttons, ["Retry", "Show Log"]);
    old.close();
    renameSync(`${socket}.kept`, socket);
    await window.answer(/another version/, "Retry");
    await item(/^GPU 0/);
    await window.screenshot("again");
});

test("GPUs that the container has lost are told inside as well", async () => {
    const [container] = await outside.containers("dev");
    const pid = await outside.dockerCli("inspect", "--format", "{{.State.Pid}}", container);
    await promisify(execFile)(path.join(REPOSITORY, "tests/lab/deny"), [pid, "1:7"]);
    await item(/^GPUs lost$/);
    const { message, buttons } = await told(/has lost its GPUs/);
    await window.screenshot("lost");
    assert.match(message, /its device rules were changed/);
    // From in here nothing is made anew.
    assert.deepEqual(buttons, ["Show Log"]);
    assert.deepEqual(await running(), containers);
});
