// Formatter and linter of the workspace are the container's, by the workspace's own rules.
import assert from "node:assert/strict";
import path from "node:path";
import { before, describe, test } from "node:test";
import { FIXTURES, languageClient, vsix } from "../lib/lab.mjs";
import { RUNS, stage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

/** Shorter than what both would take by themselves, so that nobody can format so without them. */
const RULES = `[tool.ruff]
line-length = 30

[tool.ruff.lint]
select = ["F401"]

[tool.black]
line-length = 30
`;
const UGLY = "import os\n\nkelp = dict( alpha=1, beta=2, gamma=3 )\n";
const NEAT = "import os\n\nkelp = dict(\n    alpha=1, beta=2, gamma=3\n)\n";

const FORMATTERS = [
    {
        name: "ruff",
        requirement: "ruff==0.17.6",
        extension: languageClient("ruff"),
        lints: true,
    },
    {
        name: "black",
        requirement: "black==26.10.1",
        extension: path.join(FIXTURES, "black-client"),
    },
];

for (const { name, requirement, extension, lints } of FORMATTERS) {
    describe(name, () => {
        const scene = stage();
        let editor, window;
        before(async () => {
            editor = await scene.start({
                settings: {
                    "gpubay.onOpen": "nothing",
                    "gpubay.python.configure": "ask",
                },
                files: {
                    Dockerfile: "FROM gpubay-lab/python\n",
                    "gpubay.toml": '[venv]\nrequirements = ["requirements.txt"]\n',
                    "requirements.txt": `${requirement}\n`,
                    "pyproject.toml": RULES,
                    "train.py": UGLY,
                },
                extensions: [extension, vsix],
            });
            window = await scene.open(`formatters-${name}`);
        });

        test("it is pointed at the container's with the user's consent", async () => {
            await window.openFile("train.py");
            await window.command("GPU Bay: Start GPU Container");
            await scene.item(RUNS);
            const question = new RegExp(`Let ${name} use the container's Python`, "i");
            await scene.told(question);
            await window.screenshot("asked");
            await window.answer(question, "Yes");
            await until("the setting is written", () =>
                editor.read(".vscode/settings.json").includes(`\${workspaceFolder}/.venv/bin/${name}`),
            );
        });

        if (lints) {
            test("it says what is wrong by the workspace's rules", async () => {
                const rows = await until("it says it", async () => {
                    const rows = await window.problems();
                    return rows.some((row) => /`os` imported but unused/.test(row)) && rows;
                });
                await window.screenshot("linted");
                assert.ok(!rows.some((row) => /dict/.test(row)), `by other rules: ${rows.join("; ")}`);
            });
        }

        test("it formats the file by the workspace's rules", async () => {
            await until("the file is formatted", async () => {
                await window.focusEditor();
                await window.command("Format Document");
                const formatted = () =>
                    until("it is formatted", async () => (await window.text()).includes("dict(\n"), 3000);
                return formatted().catch(() => false);
            });
            await window.screenshot("formatted");
            assert.equal((await window.text()).trimEnd(), NEAT.trimEnd());
        });
    });
}
