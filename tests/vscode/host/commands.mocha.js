const assert = require("node:assert/strict");
const vscode = require("vscode");

suite("the extension", () => {
    const extension = vscode.extensions.getExtension("gpubay.gpubay");

    test("is installed from its package", () => {
        assert.ok(extension, vscode.extensions.all.map((known) => known.id).join("\n"));
        assert.deepEqual(extension.packageJSON.extensionKind, ["workspace"]);
    });

    test("is not activated by searching the workspace", () => {
        const events = extension.packageJSON.activationEvents ?? [];
        assert.ok(!events.some((event) => event === "*" || event.startsWith("workspaceContains")), events.join());
    });

    test("answers every command that its manifest promises", async () => {
        await extension.activate();
        const known = new Set(await vscode.commands.getCommands(true));
        const promised = extension.packageJSON.contributes.commands.map(({ command }) => command);
        assert.deepEqual(
            promised.filter((command) => !known.has(command)),
            [],
        );
    });
});
