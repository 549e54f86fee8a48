const assert = require("node:assert/strict");
const vscode = require("vscode");
const { activated, helpers, shows, state, until } = require("./session");

suite("a window with several folders", () => {
    let session, status, coral, kelp;
    suiteSetup(async () => {
        ({ session, status } = await activated());
        [coral, kelp] = vscode.workspace.workspaceFolders;
    });
    const phase = (folder, wanted) =>
        state(session, folder, `${folder.name} is ${wanted}`, ({ phase, work }) => phase === wanted && !work);

    test("has one helper for all of them", async () => {
        await phase(coral, "stopped");
        await phase(kelp, "stopped");
        assert.equal(helpers().length, 1);
    });

    test("starts the one that is meant", async () => {
        await vscode.commands.executeCommand("gpubay.start", kelp);
        const { container } = await phase(kelp, "running");
        assert.match(container.name, /^gpubay-kelp-/);
        assert.equal(session.state(coral).container, null);
        await shows(status, /GPU: not started \(coral\)$/);
        await vscode.window.showTextDocument(vscode.Uri.joinPath(kelp.uri, "Dockerfile"));
        await until("the item is about the active editor's folder", () => /\(kelp\)$/.test(status.text));
    });

    test("works on two at once", async () => {
        const [stopped, started] = [
            vscode.commands.executeCommand("gpubay.stop", kelp),
            vscode.commands.executeCommand("gpubay.start", coral),
        ];
        await Promise.all([stopped, started]);
        await phase(kelp, "stopped");
        await phase(coral, "running");
    });

    test("learns of folders that come and go", async () => {
        const sand = vscode.Uri.joinPath(coral.uri, "../sand");
        assert.ok(vscode.workspace.updateWorkspaceFolders(2, 0, { uri: sand }));
        await until("it is there", () => session.folders.length === 3);
        await phase(session.folders[2], "unconfigured");
        assert.ok(vscode.workspace.updateWorkspaceFolders(2, 1));
        await until("it is gone", () => session.folders.length === 2);
        const asked = () => session.request("gpubay/status", { folder: sand.fsPath });
        await until("the helper knows it no more", () =>
            asked().then(
                () => false,
                (error) => error.failure?.code === "unknown_folder",
            ),
        );
        await phase(coral, "running");
    });
});
