// Python tools are pointed at the container's Python where the user agrees, and told at once when its packages change. Microsoft's
// own extensions cannot be had here: what stands in for them records how it was told.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { standIn, vsix } from "../lib/lab.mjs";
import { PACKAGES } from "../lib/packages.mjs";
import { RUNS, stage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const msPython = standIn("python-recorder", "ms-python");
const pythonEnvs = standIn("python-recorder", "python-envs");
const QUESTION = /use the container's Python/;

const scene = stage({ each: "editor" });
let editor, window;

async function start(name, extensions, settings) {
    const wanted = {
        settings: { "gpubay.onOpen": "nothing", ...settings },
        files: { Dockerfile: "FROM gpubay-lab/python\n", "train.py": "" },
        extensions: [...extensions, vsix],
    };
    await scene.start(wanted, (made) => {
        editor = made;
        editor.env = { GPUBAY_TEST_PYTHON: editor.at("run/python") };
        editor.writeAt(editor.at("run/python"), "");
    });
    window = await scene.open(`python-${name}`);
    await window.keepSaid();
    // Which wakes them.
    await window.openFile("train.py");
    await window.command("GPU Bay: Start GPU Container");
    await scene.item(RUNS);
}

const recorded = () =>
    readFileSync(editor.at("run/python"), "utf8")
        .split("\n")
        .filter(Boolean)
        .map((line) => JSON.parse(line));

/** Installs a package into the container and brings the mirror up to date; when `calls` were made it was there to be found. */
async function install(name, ...calls) {
    const before = recorded().length;
    const place = `${PACKAGES}/${name}`;
    await editor.gpubay("exec", "--root", "--", "sh", "-c", `mkdir ${place} && touch ${place}/__init__.py`);
    await window.command("GPU Bay: Refresh Completion");
    for (const call of calls) {
        const found = (one) => one.call === call && one.packages.includes(name);
        await until(`${call} finds ${name}`, () => recorded().slice(before).some(found));
    }
}

/** What comes of a change of packages has come: with the next one everybody has been told again. */
async function settled(call) {
    await install("settled", call);
    await install("settledtoo", call);
}

function settingsOf() {
    try {
        return JSON.parse(editor.read(".vscode/settings.json"));
    } catch (error) {
        assert.equal(error.code, "ENOENT");
        return {};
    }
}

const asked = async () => (await window.said()).filter((text) => QUESTION.test(text)).length;

test("a sync makes them look again at once, and a no to this folder holds here alone", async () => {
    await start("asks", [msPython, pythonEnvs], {});
    await scene.told(QUESTION);
    await window.screenshot("asked");
    // While the question stands, too.
    await install("kelp", "refreshEnvironments", "refreshAllManagers");
    assert.deepEqual(recorded().find(({ call }) => call === "refreshEnvironments").options, { forceRefresh: true });
    assert.deepEqual(settingsOf(), {});

    // By now the editor may keep it behind its bell.
    await scene.told(QUESTION);
    await window.answer(QUESTION, "Not Here");
    await until("the question is gone", async () =>
        [...(await window.notifications()), ...(await window.notifications(".notifications-center.visible"))].every(
            ({ message }) => !QUESTION.test(message),
        ),
    );
    const before = await asked();
    await settled("refreshEnvironments");
    assert.equal(await asked(), before, "it is not asked again");
    assert.deepEqual(settingsOf(), {});
    const own = JSON.parse(readFileSync(editor.at("data/User/settings.json"), "utf8"));
    assert.equal(own["gpubay.python.configure"], undefined, "and other folders are not barred");

    // The folder's own settings take it back.
    editor.write(".vscode/settings.json", '{ "gpubay.python.configure": "ask" }');
    await scene.told(QUESTION);
    await window.screenshot("asked-again");
    const calls = recorded().length;
    await window.answer(QUESTION, "Yes");
    await until("the setting is written", () => settingsOf()["python.defaultInterpreterPath"]);
    assert.equal(settingsOf()["python.defaultInterpreterPath"], "${workspaceFolder}/.venv/bin/python");
    await until("they look again with it", () => recorded().length > calls);
    await window.screenshot("pointed");
});

test("always asks nobody", async () => {
    await start("always", [msPython], { "gpubay.python.configure": "always" });
    await until("the setting is written", () => settingsOf()["python.defaultInterpreterPath"]);
    await install("kelp", "refreshEnvironments");
    assert.equal(await asked(), 0);
});

const UNTOUCHED = [
    ["never", "never writes nothing", [msPython], { "gpubay.python.configure": "never" }],
    [
        "set",
        "what the user has set stays",
        [msPython],
        { "gpubay.python.configure": "always", "python.defaultInterpreterPath": "/usr/bin/python3" },
    ],
    ["none", "where no tool has such a setting nobody is asked", [pythonEnvs], {}],
];
for (const [name, title, extensions, settings] of UNTOUCHED) {
    test(title, async () => {
        await start(name, extensions, settings);
        await settled(extensions[0] === msPython ? "refreshEnvironments" : "refreshAllManagers");
        await window.screenshot("untouched");
        assert.deepEqual(settingsOf(), {});
        assert.equal(await asked(), 0);
        const own = JSON.parse(readFileSync(editor.at("data/User/settings.json"), "utf8"));
        assert.equal(own["python.defaultInterpreterPath"], settings["python.defaultInterpreterPath"]);
    });
}
