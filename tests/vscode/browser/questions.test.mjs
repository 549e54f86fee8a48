// What is asked before anything is done: powers, which Dockerfile, and what to build where there is nothing.
import assert from "node:assert/strict";
import path from "node:path";
import { before, test } from "node:test";
import { RUNS, stage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const hostNetwork = (more) => `[container]\nhostname = "reef"\nnetwork = "host"\n${more}`;

const scene = stage({ each: "window" });
const { asked, item, told } = scene;
let editor, window, folder;
before(async () => {
    // A folder for each test.
    editor = await scene.start({
        workspace: "reefs",
        settings: { "gpubay.onOpen": "nothing" },
        files: {
            "powers/Dockerfile": "FROM gpubay-lab/busybox\n",
            "powers/gpubay.toml": hostNetwork(""),
            "dockerfiles/docker/coral/Dockerfile": "FROM gpubay-lab/busybox\n",
            // What would be an icon in a list.
            "dockerfiles/docker/kelp $(zap)/Dockerfile": "FROM gpubay-lab/busybox\nENV REEF=kelp\n",
            "nothing/notes.txt": "reef\n",
            "mistake/Dockerfile": "FROM gpubay-lab/busybox\n",
            "mistake/gpubay.toml": "[gpus]\nuse = 1\n\n[container]\nworkdri = '/app'\n",
        },
    });
});

async function open(name) {
    folder = path.join(editor.folder, name);
    const url = `http://127.0.0.1:${editor.port}/?folder=${encodeURIComponent(folder)}`;
    window = await scene.open(`questions-${name}`, url);
    await item(/./);
}
const containers = () => editor.containers("dev", folder);

test("powers are named one by one, a no starts nothing, and a yes is remembered until they change", async () => {
    await open("powers");
    const question = /“powers” asks for more than its own folder\. Allow it\?/;
    await window.command("GPU Bay: Start GPU Container");
    const { detail, buttons } = await asked(question);
    await window.screenshot("asked");
    assert.match(detail, /host.*network|network.*host/i);
    assert.deepEqual(buttons.sort(), ["Allow", "Cancel", "Open gpubay.toml"]);
    assert.equal(
        await window.focused(),
        "Open gpubay.toml",
        "an Enter that was meant for something else grants nothing",
    );
    await window.answerDialog("Cancel");
    await until("the dialog is gone", async () => !(await window.dialog()));
    assert.deepEqual(await containers(), []);
    await window.command("GPU Bay: Start GPU Container");
    await asked(question);
    await window.answerDialog("Allow");
    await item(RUNS);
    await window.command("GPU Bay: Stop");
    await item(/^GPU: stopped$/);
    // It is not asked again, and more is.
    await window.command("GPU Bay: Start GPU Container");
    await item(RUNS);
    editor.write("powers/gpubay.toml", hostNetwork('ipc = "host"\n'));
    await window.command("GPU Bay: Start GPU Container");
    const more = await asked(question);
    await window.screenshot("asked-more");
    assert.match(more.detail, /ipc/i);
    await window.answerDialog("Cancel");
});

test("of several Dockerfiles one is chosen, once", async () => {
    await open("dockerfiles");
    await window.command("GPU Bay: Start GPU Container");
    await until("they are listed", async () => {
        const rows = await window.rows();
        return (
            rows.some((row) => row?.includes("docker/coral")) &&
            rows.some((row) => row?.includes("docker/kelp $ (zap)/Dockerfile"))
        );
    });
    await window.screenshot("listed");
    await window.pick("docker/kelp");
    await item(RUNS);
    const [container] = await containers();
    assert.equal(await editor.dockerCli("exec", container, "sh", "-c", "echo $REEF"), "kelp");
    await window.command("GPU Bay: Stop");
    await item(/^GPU: stopped$/);
    await window.page.reload();
    // With a question open it would not get there.
    await window.command("GPU Bay: Start GPU Container");
    await item(RUNS);
    await window.screenshot("remembered");
    assert.deepEqual(await containers(), [container]);
});

test("where there is nothing to build from it is offered to write it", async () => {
    await open("nothing");
    await window.command("GPU Bay: Start GPU Container");
    const { message, buttons } = await told(/^“nothing” has no Dockerfile/);
    await window.screenshot("offered");
    assert.equal(buttons[0], "Initialize…", message);
});

test("a mistake in gpubay.toml is told with its place, and the file opens there", async () => {
    await open("mistake");
    await window.command("GPU Bay: Start GPU Container");
    const mistake = /gpubay\.toml:5.*workdri/;
    const { message, buttons } = await told(mistake);
    await window.screenshot("told");
    assert.match(message, /workdir/);
    assert.equal(buttons[0], "Open File");
    await window.answer(mistake, "Open File");
    await window.tab("gpubay.toml").waitFor();
    await until("the cursor is on the line", async () =>
        (await window.statusBar()).some((text) => /Ln 5\b/.test(text)),
    );
    await window.screenshot("opened");
    assert.deepEqual(await containers(), []);
});
