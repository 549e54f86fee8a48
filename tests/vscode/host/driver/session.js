// What the tests inside the extension host share: the session of the extension, and waiting for what it tells.
const { readdirSync, readFileSync } = require("node:fs");
const { setTimeout } = require("node:timers/promises");
const vscode = require("vscode");

exports.until = async (what, ask) => {
    const deadline = Date.now() + 80_000;
    for (;;) {
        const answer = await ask();
        if (answer) {
            return answer;
        }
        if (Date.now() > deadline) {
            throw new Error(`it is still not so: ${what}`);
        }
        await setTimeout(20);
    }
};

exports.activated = () => vscode.extensions.getExtension("gpubay.gpubay").activate();

/** The state of a folder, once `wanted` is true of it. */
exports.state = (session, folder, what, wanted) =>
    exports.until(what, () => {
        const state = session.state(folder);
        return state && wanted(state) && state;
    });

/** Until the status bar's item says it: what comes fast is passed on to it a moment later. */
exports.shows = (status, pattern) => exports.until(`the item says ${pattern}`, () => pattern.test(status.text));

/** The helpers that this extension host has started. */
exports.helpers = () =>
    readdirSync("/proc")
        .filter((name) => /^\d+$/.test(name))
        .filter((pid) => {
            try {
                const parent = / \S \d+/.exec(readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\)/, ""));
                const argv = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
                return parent?.[0].slice(3) === String(process.pid) && /gpubay$/.test(argv[0]) && argv[1] === "serve";
            } catch {
                return false;
            }
        })
        .map(Number);
