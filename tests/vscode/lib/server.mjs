// One editor on loopback: a server with folders of its own, run as the tests' user, ended with all its processes.
import { execFile, spawn } from "node:child_process";
import {
    chmodSync,
    chownSync,
    cpSync,
    existsSync,
    mkdirSync,
    mkdtempSync,
    readFileSync,
    rmSync,
    writeFileSync,
} from "node:fs";
import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { asUser, codeServer, node, user, variable, vscode } from "./lab.mjs";
import { Hopeless, until } from "./until.mjs";

const run = promisify(execFile);

/** A server that drives mocha in its extension host, or one that a user opens in a browser. */
const PROGRAMS = {
    host: {
        listening: /Extension host agent listening on (\d+)/,
        argv: (editor) => [
            path.join(codeServer, "lib/vscode/out/server-main.js"),
            ...["--host", "127.0.0.1", "--port", "0", "--without-connection-token", "--accept-server-license-terms"],
            ...["--telemetry-level", "off", "--enable-smoke-test-driver"],
            ...(editor.trust ? [] : ["--disable-workspace-trust"]),
            ...["--server-data-dir", editor.at("server-data"), ...folders(editor)],
        ],
    },
    browser: {
        listening: /HTTP server listening on http:\/\/127\.0\.0\.1:(\d+)/,
        argv: (editor) => [
            path.join(codeServer, "out/node/entry.js"),
            ...["--config", editor.at("home/code-server.yaml"), "--auth", "none", "--bind-addr", "127.0.0.1:0"],
            ...["--disable-telemetry", "--disable-update-check", "--disable-getting-started-override"],
            ...(editor.trust ? [] : ["--disable-workspace-trust"]),
            ...folders(editor),
        ],
    },
};

/** Settings of a window in which nothing comes up by itself. */
export const QUIET = {
    "workbench.startupEditor": "none",
    "telemetry.telemetryLevel": "off",
    "extensions.ignoreRecommendations": true,
    "workbench.enableExperiments": false,
    "chat.commandCenter.enabled": false,
    "chat.disableAIFeatures": true,
    // What opens in a dialog of its own cannot be told from what stops the user.
    "workbench.editor.useModal": "off",
    "workbench.secondarySideBar.defaultVisibility": "hidden",
};

const folders = (editor) => ["--user-data-dir", editor.at("data"), "--extensions-dir", editor.at("extensions")];

export class Editor {
    /**
     * @param {object} wanted
     * @param {"host" | "browser"} [wanted.kind]
     * @param {string} [wanted.workspace] name of the workspace's folder
     * @param {Record<string, string>} [wanted.files] what is in it
     * @param {object} [wanted.settings] the user's
     * @param {(string | { folder: string, manifest: string })[]} [wanted.extensions] packed ones, and folders of unpacked ones
     * @param {string} [wanted.docker] the engine's address
     * @param {boolean} [wanted.trust] whether the editor asks for trust
     * @param {Record<string, string>} [wanted.env] of the extension host
     */
    constructor(wanted) {
        Object.assign(this, { kind: "browser", workspace: "project", files: {}, settings: {}, extensions: [] }, wanted);
        // In front of it, the user's home is another user's home with all that it brings.
        this.root = mkdtempSync(path.join(tmpdir(), "gpubay-vscode-"));
        chmodSync(this.root, 0o755);
        for (const name of ["home", "run", "extensions", "data", "data/User", "data/Machine", "server-data"]) {
            this.makeFolder(this.at(name));
        }
        chmodSync(this.at("run"), 0o700);
        this.folder = this.at("home", this.workspace);
        this.makeFolder(this.folder);
        for (const [name, text] of Object.entries(this.files)) {
            this.write(name, text);
        }
        this.writeAt(this.at("data/User/settings.json"), JSON.stringify({ ...QUIET, ...this.settings }));
    }

    at(...names) {
        return path.join(this.root, ...names);
    }

    makeFolder(folder) {
        if (!existsSync(folder)) {
            this.makeFolder(path.dirname(folder));
            mkdirSync(folder);
            this.own(folder);
        }
    }

    own(file) {
        if (asUser.length) {
            chownSync(file, user.uid, user.gid);
        }
    }

    /** Writes a file of the workspace, as the user. */
    write(name, text) {
        this.writeAt(path.join(this.folder, name), text);
    }

    writeAt(file, text) {
        this.makeFolder(path.dirname(file));
        writeFileSync(file, text);
        this.own(file);
    }

    read(name) {
        return readFileSync(path.join(this.folder, name), "utf8");
    }

    /** What a login gives, and nothing of this process's environment. */
    environment() {
        return {
            PATH: `${path.dirname(node)}:/usr/local/bin:/usr/bin:/bin`,
            HOME: this.at("home"),
            USER: user.name,
            SHELL: "/bin/bash",
            LANG: "C.UTF-8",
            TMPDIR: this.at("run"),
            XDG_RUNTIME_DIR: this.at("run"),
            XDG_CONFIG_HOME: this.at("home/.config"),
            XDG_CACHE_HOME: this.at("home/.cache"),
            XDG_DATA_HOME: this.at("home/.local/share"),
            // Nothing is asked of a marketplace.
            EXTENSIONS_GALLERY: JSON.stringify({ serviceUrl: "" }),
            // Where fixture extensions find their libraries.
            GPUBAY_TEST_VSCODE: vscode,
            GPUBAY_TEST_SERVERS: variable("GPUBAY_TEST_SERVERS"),
            ...(this.docker ? { DOCKER_HOST: this.docker } : {}),
            ...this.env,
        };
    }

    async install() {
        const packed = this.extensions.filter((extension) => extension.endsWith?.(".vsix"));
        const unpacked = this.extensions.filter((extension) => !packed.includes(extension));
        // The editor makes its list of installed extensions from the folders that are there at its first start.
        for (const extension of unpacked) {
            const { folder = extension, manifest = path.join(extension, "package.json") } = extension;
            const { publisher, name, version } = JSON.parse(readFileSync(manifest, "utf8"));
            const place = this.at("extensions", `${publisher}.${name}-${version}`);
            cpSync(folder, place, { recursive: true });
            cpSync(manifest, path.join(place, "package.json"));
        }
        if (packed.length) {
            // The checkout may be closed to the user.
            const copies = packed.map((extension) => {
                const copy = this.at("run", path.basename(extension));
                cpSync(extension, copy);
                this.own(copy);
                return copy;
            });
            const [program, ...rest] = [...asUser, node, path.join(codeServer, "lib/vscode/out/server-main.js")];
            const argv = [
                ...folders(this),
                "--server-data-dir",
                this.at("server-data"),
                "--accept-server-license-terms",
            ];
            const wanted = copies.flatMap((copy) => ["--install-extension", copy]);
            await run(program, [...rest, ...argv, ...wanted], { env: this.environment(), cwd: this.folder });
        }
    }

    /** Installs the extensions and answers once the editor can be opened at `this.url`. */
    async start() {
        try {
            await this.install();
            await this.listen();
        } catch (error) {
            await this.stop();
            throw error;
        }
        return this;
    }

    async listen() {
        const { argv, listening } = PROGRAMS[this.kind];
        const [program, ...rest] = [...asUser, node, ...argv(this)];
        this.log = "";
        this.process = spawn(program, rest, {
            env: this.environment(),
            cwd: this.folder,
            // A group of its own, by which it ends with all that it started.
            detached: true,
            stdio: ["ignore", "pipe", "pipe"],
        });
        for (const stream of [this.process.stdout, this.process.stderr]) {
            stream.on("data", (data) => (this.log += data));
        }
        this.port = await until("the editor's server listens", () => {
            if (this.process.exitCode !== null) {
                throw new Hopeless(`the server ended with ${this.process.exitCode}:\n${this.log}`);
            }
            return listening.exec(this.log)?.[1];
        });
        this.url = `http://127.0.0.1:${this.port}/?folder=${encodeURIComponent(this.folder)}`;
    }

    /** The address of a window with a workspace file. */
    urlOf(file) {
        return `http://127.0.0.1:${this.port}/?workspace=${encodeURIComponent(path.join(this.folder, file))}`;
    }

    /** Processes that the server started, with their command lines. */
    processes() {
        return readdirSync("/proc")
            .filter((name) => /^\d+$/.test(name))
            .flatMap((pid) => {
                try {
                    const owned = readFileSync(`/proc/${pid}/environ`, "utf8").includes(`HOME=${this.at("home")}\0`);
                    const argv = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").slice(0, -1);
                    return owned && argv.length ? [{ pid: Number(pid), argv }] : [];
                } catch {
                    return []; // It ended meanwhile.
                }
            });
    }

    async stop() {
        if (this.process) {
            const gone = () => {
                try {
                    process.kill(-this.process.pid, 0);
                    return false;
                } catch {
                    return true;
                }
            };
            const signal = (name) => gone() || process.kill(-this.process.pid, name);
            signal("SIGTERM");
            // The server itself ends at once; a child that clings to life must not outlive the test.
            await until("the editor's processes end", gone, 5000).catch(() => signal("SIGKILL"));
            await until("the editor's processes are gone", gone);
        }
        if (this.docker) {
            await this.removeContainers();
        }
        rmSync(this.root, { recursive: true, force: true, maxRetries: 5 });
    }

    /** The user's command of the helper that came with the extension. */
    commandOf(argv) {
        const name = readdirSync(this.at("extensions")).find((name) => name.startsWith("gpubay.gpubay-"));
        const [program, ...rest] = [...asUser, this.at("extensions", name, "bin/gpubay"), ...argv];
        return [program, rest, { env: this.environment(), cwd: this.folder }];
    }

    /** What it prints in the workspace. */
    async gpubay(...argv) {
        return (await run(...this.commandOf(argv))).stdout.trim();
    }

    /** Begins it in the workspace, and answers with the process once it has said something. */
    async beginGpubay(wanted, ...argv) {
        const [program, rest, options] = this.commandOf(argv);
        const child = spawn(program, rest, { ...options, stdio: ["ignore", "ignore", "pipe"] });
        let said = "";
        child.stderr.on("data", (data) => (said += data));
        await until(`gpubay ${argv.join(" ")} says ${wanted}`, () => {
            if (child.exitCode !== null) {
                throw new Hopeless(`it ended with ${child.exitCode}:\n${said}`);
            }
            return wanted.test(said);
        });
        return child;
    }

    async dockerCli(...argv) {
        const env = { PATH: "/usr/bin:/bin", DOCKER_HOST: this.docker, HOME: this.root };
        return (await run(variable("GPUBAY_TEST_DOCKER"), argv, { env })).stdout.trim();
    }

    /** Of the workspace's folder, or of all below it. */
    async containers(role, folder = this.folder) {
        const filters = ["label=gpubay.workspace", ...(role ? [`label=gpubay.role=${role}`] : [])];
        const format = '{{.ID}} {{.Label "gpubay.workspace"}}';
        const options = ["--format", format, ...filters.flatMap((filter) => ["--filter", filter])];
        const listed = (await this.dockerCli("ps", "-a", ...options)).split("\n").filter(Boolean);
        return listed
            .map((line) => [line.slice(0, line.indexOf(" ")), line.slice(line.indexOf(" ") + 1)])
            .filter(([, at]) => at === folder || at.startsWith(`${folder}/`))
            .map(([id]) => id);
    }

    async removeContainers() {
        for (const container of await this.containers()) {
            await this.dockerCli("rm", "-fv", container);
        }
    }
}
