const assert = require("node:assert/strict");
const vscode = require("vscode");
const { activated, shows, state } = require("./session");

suite("a workspace that is not trusted", () => {
    test("is not looked at, and nothing in it chooses the helper", async () => {
        assert.equal(vscode.workspace.isTrusted, false);
        const { session, status } = await activated();
        const [folder] = vscode.workspace.workspaceFolders;
        const { container, problem } = await state(session, folder, "it is told", ({ phase }) => phase === "untrusted");
        assert.deepEqual([container, problem], [null, null]);
        await shows(status, /^\$\(shield\)/);
        for (const method of ["gpubay/up", "gpubay/status", "gpubay/gpus", "gpubay/doctor"]) {
            const asked = session.request(method, { folder: folder.uri.fsPath, allow: [], consent: false });
            await assert.rejects(asked, (error) => error.failure?.code === "untrusted", method);
        }
        // Terminals and tasks would run the helper without asking it.
        await assert.rejects(session.helperPath(), (error) => error.failure?.code === "untrusted");
    });
});
