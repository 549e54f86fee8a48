const assert = require("node:assert/strict");
const vscode = require("vscode");
const { activated, helpers, shows, state, until } = require("./session");

suite("a helper that is killed", () => {
    let session, status, folder;
    suiteSetup(async () => {
        ({ session, status } = await activated());
        [folder] = vscode.workspace.workspaceFolders;
    });

    /** It is started when the end of the one before was noticed, and what that had told is forgotten. */
    const another = (than) =>
        until(
            "there is another one",
            () => helpers().some((pid) => pid !== than) && session.helper.status === "running",
        );

    test("has told the state, which is what the status bar shows", async () => {
        await state(session, folder, "there is no container", ({ phase }) => phase === "stopped");
        await shows(status, /GPU: not started$/);
        await vscode.commands.executeCommand("gpubay.start", folder);
        await state(session, folder, "it runs", ({ phase, work }) => phase === "running" && !work);
        await shows(status, /(GPU \d|CPU)/);
        assert.match(status.tooltip, /Injection: /);
    });

    test("is followed by one that tells the same, and nobody is asked", async () => {
        const before = session.state(folder);
        const [pid, ...others] = await until("there is a helper", () => helpers().length > 0 && helpers());
        assert.deepEqual(others, []);
        process.kill(pid, "SIGKILL");
        await another(pid);
        const after = await state(
            session,
            folder,
            "it knows as much",
            ({ phase, work }) => phase === "running" && !work,
        );
        assert.deepEqual(after.container, before.container);
        assert.equal(helpers().length, 1);
    });

    test("answers what was asked meanwhile with a failure, and the next question", async () => {
        const [pid] = helpers();
        const asked = session.request("gpubay/doctor", { folder: folder.uri.fsPath });
        process.kill(pid, "SIGKILL");
        await assert.rejects(asked, (error) => ["helper_gone", "going_down"].includes(error.failure?.code));
        await another(pid);
        const { container } = await session.request("gpubay/status", { folder: folder.uri.fsPath });
        assert.equal(container.state, "running");
    });
});
