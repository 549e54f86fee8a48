// Completion from the container with each of the language servers that people use, all of them real ones.
import assert from "node:assert/strict";
import { describe, before, test } from "node:test";
import { languageClient, vsix } from "../lib/lab.mjs";
import { imageWith } from "../lib/packages.mjs";
import { RUNS, stage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const SERVERS = [
    // It takes the workspace's `.venv` by itself.
    { name: "ty", unresolved: /Cannot resolve .*kelpworks/ },
    // It does, too, and asks the interpreter there.
    {
        name: "pyrefly",
        unresolved: /(Cannot find module|Could not find import).*kelpworks/,
        settings: { "python.pyrefly.displayTypeErrors": "force-on" },
    },
    // By itself it never looks for one: it is pointed at it.
    {
        name: "basedpyright",
        unresolved: /Import "kelpworks" could not be resolved/,
        pointed: /Let Pyright use the container's Python/,
    },
];

/** What is wrong with the unfinished line, in the words of all of them. */
const UNFINISHED = /identifier|attribute name/i;

for (const { name, unresolved, settings, pointed } of SERVERS) {
    describe(name, () => {
        const scene = stage();
        let window;
        before(async () => {
            await scene.start({
                settings: {
                    "gpubay.onOpen": "nothing",
                    "gpubay.python.configure": pointed ? "ask" : "never",
                    ...settings,
                },
                files: { Dockerfile: imageWith("kelpworks"), "train.py": "import kelpworks\n\nkelpworks.\n" },
                extensions: [languageClient(name), vsix],
            });
            window = await scene.open(`servers-${name}`);
        });

        test("before the start it does not find the package", async () => {
            await window.openFile("train.py");
            await until("it says so", async () => (await window.problems()).some((row) => unresolved.test(row)));
            await window.screenshot("unresolved");
        });

        test("with the start it is resolved, without a reload", async () => {
            await window.command("GPU Bay: Start GPU Container");
            if (pointed) {
                await scene.told(pointed);
                await window.screenshot("asked");
                await window.answer(pointed, "Yes");
            }
            await until("only the unfinished line is left to be said", async () => {
                const running = (await window.ours()).some((text) => RUNS.test(text));
                const rows = await window.problems();
                // While a server is started again nothing is said at all.
                return running && rows.some((row) => UNFINISHED.test(row)) && !rows.some((row) => unresolved.test(row));
            });
            await window.screenshot("resolved");
            if (!pointed) {
                assert.throws(() => scene.editor.read(".vscode/settings.json"), "and without a setting");
            }
        });

        test("it completes from the package, and goes to its definition", async () => {
            await window.focusEditor();
            await window.goToLine(3, 11);
            const offered = (rows) => rows.some((row) => row?.startsWith("only_inside"));
            await window.completions("only_inside", offered);
            await window.screenshot("completion");
            await window.press("Escape");
            await window.type("only_inside(3)");
            await window.goToLine(3, 13);
            await window.goToDefinition("__init__.py");
            await window.screenshot("definition");
            assert.match(await window.text(), /def only_inside\(width: int\) -> int:/);
        });
    });
}
