// Runs inside the extension host, and leaves what came of each test in a file, a JSON object a line.
const { appendFileSync } = require("node:fs");
const { createRequire } = require("node:module");
const path = require("node:path");

const tools = path.join(process.env.GPUBAY_TEST_VSCODE, "tools/node_modules");
const Mocha = createRequire(path.join(tools, "x.js"))("mocha");

/** The console of an extension host is the editor's log. */
function Reporter(runner) {
    const note = (test, error) => {
        const came = { title: test.fullTitle(), error: error && (error.stack ?? String(error)) };
        appendFileSync(process.env.GPUBAY_TEST_REPORT, `${JSON.stringify(came)}\n`);
    };
    runner.on("pass", (test) => note(test));
    runner.on("fail", note);
}

exports.run = function () {
    const mocha = new Mocha({ ui: "tdd", timeout: 90_000, reporter: Reporter });
    mocha.addFile(process.env.GPUBAY_TEST_FILE);
    return new Promise((resolve, reject) => {
        mocha.run((failures) => (failures ? reject(new Error(`${failures} failed`)) : resolve()));
    });
};
