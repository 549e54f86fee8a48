// Runs each `<name>.mocha.js` inside an extension host of its own, where it has the editor's API. What the editor is to be
// like stands in `<name>.setup.mjs`, whose `prepare` gets it before it is started.
import assert from "node:assert/strict";
import { cpSync, existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { engine, vsix } from "../lib/lab.mjs";
import { browser } from "../lib/page.mjs";
import { Editor } from "../lib/server.mjs";

const here = import.meta.dirname;
const names = readdirSync(here).filter((name) => name.endsWith(".mocha.js"));
// Before anything is registered: what is registered while something is awaited may begin, and be over, without the rest.
const files = await Promise.all(
    names.map(async (file) => {
        const setup = path.join(here, file.replace(".mocha.js", ".setup.mjs"));
        return { file, ...(existsSync(setup) ? await import(setup) : {}) };
    }),
);

let chrome;
before(async () => (chrome = await browser()));
after(() => chrome.close());

for (const { file, default: wanted, prepare } of files) {
    test(file, async (t) => {
        const editor = new Editor({
            kind: "host",
            extensions: [vsix],
            docker: engine("docker28"),
            ...wanted,
        });
        // The checkout may be closed to the user.
        cpSync(path.join(here, "driver"), editor.at("driver"), { recursive: true });
        cpSync(path.join(here, file), editor.at("driver", file));
        const report = editor.at("run/report");
        editor.env = { ...editor.env, GPUBAY_TEST_FILE: editor.at("driver", file), GPUBAY_TEST_REPORT: report };
        prepare?.(editor);
        t.after(() => editor.stop());
        await editor.start();
        const { code, lines } = await runTests(editor);
        const results = existsSync(report) ? readFileSync(report, "utf8").trim().split("\n").map(JSON.parse) : [];
        for (const { title, error } of results) {
            await t.test(title, () => assert.ok(!error, error));
        }
        // Mocha itself may have failed, or found nothing to run.
        const failed = results.some(({ error }) => error);
        assert.ok(failed || (code === 0 && results.length > 0), `it ended with ${code}:\n${lines.join("\n")}`);
    });
}

async function runTests(editor) {
    const context = await chrome.newContext();
    const page = await context.newPage();
    const lines = [];
    try {
        const place = (...names) => `vscode-remote://127.0.0.1:${editor.port}${editor.at("driver", ...names)}`;
        const payload = JSON.stringify([
            ["extensionDevelopmentPath", place()],
            ["extensionTestsPath", place("index.js")],
        ]);
        const { promise: ended, resolve, reject } = Promise.withResolvers();
        page.on("crash", () => reject(new Error("the page crashed")));
        editor.process.on("exit", (code) => reject(new Error(`the server ended with ${code}:\n${editor.log}`)));
        await page.exposeFunction("codeAutomationLog", (_, args) => lines.push(args.map(String).join(" ")));
        await page.exposeFunction("codeAutomationExit", resolve);
        const url = editor.open === undefined ? editor.url : editor.urlOf(editor.open);
        await page.goto(`${url}&payload=${encodeURIComponent(payload)}`);
        return { code: await ended, lines };
    } finally {
        await context.close();
    }
}
