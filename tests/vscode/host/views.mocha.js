const assert = require("node:assert/strict");
const vscode = require("vscode");
const { activated, state, until } = require("./session");

suite("the view", () => {
    let session, folder;
    /** What was asked of the helper about GPUs, and whether it is to be told on. */
    const asked = [];
    suiteSetup(async () => {
        ({ session } = await activated());
        [folder] = vscode.workspace.workspaceFolders;
        const { request } = session;
        session.request = (method, params, ...rest) => {
            if (/gpus/i.test(method)) {
                asked.push(method === "gpubay/watchGpus" ? `watch: ${params.watch}` : method);
            }
            return request.call(session, method, params, ...rest);
        };
    });

    test("knows the GPUs before the first start, and asks for them while it is seen only", async () => {
        await state(session, folder, "there is no container", ({ phase }) => phase === "stopped");
        // Whatever the state brings about has been brought about with this answer.
        await session.request("gpubay/status", { folder: folder.uri.fsPath });
        assert.deepEqual(asked, []);
        assert.equal(session.gpus.report(folder), undefined);
        await vscode.commands.executeCommand("gpubay.workspaces.focus");
        const { devices } = await until("they are known", () => session.gpus.report(folder));
        assert.ok(devices.length > 1, JSON.stringify(devices));
        await until("they are followed", () => asked.includes("watch: true"));
        await vscode.commands.executeCommand("workbench.action.closeSidebar");
        await until("nobody is asked any more", () => asked.at(-1) === "watch: false");
        assert.equal(session.state(folder).container, null);
    });
});
