const assert = require("node:assert/strict");
const { execFile } = require("node:child_process");
const { writeFileSync } = require("node:fs");
const net = require("node:net");
const path = require("node:path");
const { promisify } = require("node:util");
const vscode = require("vscode");
const { activated, shows, state } = require("./session");

const { extensionPath } = vscode.extensions.getExtension("gpubay.gpubay");

suite("a workspace that is not trusted", () => {
    const [folder] = vscode.workspace.workspaceFolders;
    /** How often somebody has come to the engine. */
    let contacts = 0;
    let door;
    suiteSetup(async () => {
        door = net.createServer((here) => {
            contacts += 1;
            const there = net.connect(process.env.GPUBAY_TEST_ENGINE);
            here.on("error", () => there.destroy()).pipe(there);
            there.on("error", () => here.destroy()).pipe(here);
        });
        await new Promise((listening) => door.listen(process.env.DOCKER_HOST.replace("unix://", ""), listening));
        // There is something to see: a container that its user has started in a terminal, and a mistake since.
        await promisify(execFile)(path.join(extensionPath, "bin/gpubay"), ["-C", folder.uri.fsPath, "up"]);
        writeFileSync(path.join(folder.uri.fsPath, "gpubay.toml"), "[container]\nreef = true\n");
    });
    suiteTeardown(() => door.close());

    test("is not looked at, and nothing in it chooses the helper", async () => {
        assert.equal(vscode.workspace.isTrusted, false);
        const { session, status } = await activated();
        assert.ok(contacts > 0, "who asks the engine comes through here");
        const before = contacts;
        await session.restart();
        const { phase, container, problem } = await state(
            session,
            folder,
            "it is told",
            ({ phase }) => phase !== "looking",
        );
        assert.deepEqual([phase, container, problem], ["untrusted", null, null]);
        await shows(status, /^\$\(shield\)/);
        for (const method of ["gpubay/up", "gpubay/status", "gpubay/gpus", "gpubay/doctor"]) {
            const asked = session.request(method, { folder: folder.uri.fsPath, allow: [], consent: false });
            await assert.rejects(asked, (error) => error.failure?.code === "untrusted", method);
        }
        // Terminals and tasks would run the helper without asking it.
        await assert.rejects(session.helperPath(), (error) => error.failure?.code === "untrusted");
        assert.equal(contacts, before, "the engine is not contacted");
    });
});
