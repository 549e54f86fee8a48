// What the editor is asked to open for «Attach Editor», and what it finds by then.
const assert = require("node:assert/strict");
const { existsSync, readFileSync } = require("node:fs");
const path = require("node:path");
const vscode = require("vscode");
const { api } = require("./heard");
const { activated, state } = require("./session");

suite("the window in the container", () => {
    let session, folder, container;
    /** Addresses that were to be opened, each with the attach configuration as it was at that moment. */
    const opened = [];
    const config = () => {
        const storage = path.join(session.unfinished.home, "../..", "ms-vscode-remote.remote-containers");
        const file = path.join(storage, "nameConfigs", `${container.name}.json`);
        return existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : undefined;
    };
    suiteSetup(async () => {
        ({ session } = await activated());
        [folder] = vscode.workspace.workspaceFolders;
        await session.request("gpubay/up", { folder: folder.uri.fsPath, gpus: "none", allow: [], consent: false });
        const runs = ({ phase }) => phase === "running";
        ({ container } = await state(session, folder, "it runs", runs));
        const { executeCommand } = api.commands;
        api.commands.executeCommand = async (command, ...args) => {
            if (command !== "vscode.openFolder") {
                return executeCommand.call(api.commands, command, ...args);
            }
            // This window stays as it is.
            opened.push({ uri: args[0], options: args[1], config: config() });
        };
    });

    /** The name of the machine of this window, as the editor gives it to the extension. */
    const remote = (name) => Object.defineProperty(api.env, "remoteName", { value: name, configurable: true });

    /** Of an authority `attached-container+…`: what it says, and what follows behind `@`. */
    const read = ({ authority, path }) => {
        const [, hex, behind] = /^attached-container\+([0-9a-f]+)(@.*)?$/.exec(authority);
        return { ...JSON.parse(Buffer.from(hex, "hex").toString("utf8")), behind, path };
    };

    const attach = async () => {
        opened.length = 0;
        await api.commands.executeCommand("gpubay.attach", folder);
        assert.equal(opened.length, 1);
        return opened[0];
    };

    test("is of this very container on this very engine, and is described before it opens", async () => {
        const { uri, options, config } = await attach();
        assert.deepEqual(options, { forceNewWindow: true });
        assert.equal(uri.scheme, "vscode-remote");
        assert.deepEqual(read(uri), {
            containerName: `/${container.name}`,
            settings: { host: process.env.DOCKER_HOST },
            behind: undefined,
            path: "/workspace",
        });
        assert.deepEqual(config, {
            workspaceFolder: "/workspace",
            remoteUser: config.remoteUser,
            extensions: ["ms-python.python"],
            madeBy: "GPU Bay",
        });
        assert.match(config.remoteUser ?? "", /^[\w-]+$/);
    });

    test("goes the way of a window of Remote-SSH, which is asked for once", async () => {
        const { showInputBox } = api.window;
        const asked = [];
        api.window.showInputBox = (options) => {
            asked.push(options.validateInput("-oProxyCommand=x"), options.validateInput("box.lab"));
            return Promise.resolve("box.lab");
        };
        try {
            remote("ssh-remote");
            for (const _ of ["asked", "remembered"]) {
                const { uri } = await attach();
                assert.equal(read(uri).behind, "@ssh-remote+box.lab");
            }
            assert.deepEqual(asked, ["That is no name of a machine.", undefined]);
        } finally {
            api.window.showInputBox = showInputBox;
            remote(undefined);
        }
    });

    test("goes the way of a window of WSL, to the engine of that distribution", async () => {
        process.env.WSL_DISTRO_NAME = "Ubuntu-24.04";
        try {
            remote("wsl");
            const { uri } = await attach();
            assert.deepEqual([read(uri).behind, uri.path], ["@wsl+Ubuntu-24.04", "/workspace"]);
        } finally {
            delete process.env.WSL_DISTRO_NAME;
            remote(undefined);
        }
    });
});
