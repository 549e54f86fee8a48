// The editor of a window that is attached to the container. As Dev Containers does it, a server of the editor runs in there,
// started by the engine, with the extensions of that side installed in there; the window is this machine's. What comes with a
// real driver, its library, is the lab's fake.
import { spawn } from "node:child_process";
import { cpSync, renameSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { asUser, codeServer, node, variable, vscode, vsix } from "./lab.mjs";
import { Editor, QUIET } from "./server.mjs";
import { Hopeless, until } from "./until.mjs";

/** Where the container has what the editor is and what it writes. */
const PROGRAMS = "/opt/editor";
const OWN = "/opt/own";
const FOLDER = "/workspace";

export class Inside {
    /**
     * The editor outside, of which nothing but the folder and the user's home is used, made for such a container.
     * @param {ConstructorParameters<typeof Editor>[0]} wanted
     * @param {string} [more] of `[container]` in the user's own file
     */
    static outside(wanted, more = "") {
        const editor = new Editor({ extensions: [vsix], ...wanted });
        for (const name of ["inside/data/User", "inside/extensions", "inside/server-data", "driver"]) {
            editor.makeFolder(editor.at(name));
        }
        const library = editor.at("driver/libnvidia-ml.so.1");
        cpSync(path.join(variable("GPUBAY_TEST_NVML"), "libnvidia-ml.so.1"), library);
        editor.own(library);
        editor.env = { LD_LIBRARY_PATH: editor.at("driver"), GPUBAY_FAKE_NVML: editor.at("driver/scenario") };
        // What the user's own file names needs no approval.
        const mounts = [
            `${vscode}:${PROGRAMS}:ro`,
            `${editor.at("inside")}:${OWN}`,
            `${editor.at("driver")}:/opt/driver:ro`,
        ];
        editor.writeAt(
            editor.at("home/.config/gpubay/config.toml"),
            `[container]\nmounts = ${JSON.stringify(mounts)}\n${more}`,
        );
        return editor;
    }

    /** @param {object} settings the user's, in there */
    constructor(outside, settings = {}) {
        this.outside = outside;
        const file = outside.at("inside/data/User/settings.json");
        outside.writeAt(file, JSON.stringify({ ...QUIET, ...settings }));
    }

    async start(container) {
        this.container = container;
        const folders = ["--user-data-dir", `${OWN}/data`, "--extensions-dir", `${OWN}/extensions`];
        const packed = this.outside.at("inside", path.basename(vsix));
        cpSync(vsix, packed);
        this.outside.own(packed);
        const install = [...folders, "--server-data-dir", `${OWN}/server-data`, "--accept-server-license-terms"];
        const wanted = ["--install-extension", `${OWN}/${path.basename(vsix)}`];
        await this.outside.dockerCli(...this.exec("lib/vscode/out/server-main.js", ...install, ...wanted));
        const argv = this.exec(
            "out/node/entry.js",
            ...["--config", `${OWN}/code-server.yaml`, "--auth", "none", "--bind-addr", "0.0.0.0:0"],
            ...["--disable-telemetry", "--disable-update-check", "--disable-getting-started-override"],
            ...["--disable-workspace-trust", ...folders],
        );
        this.log = "";
        const env = { PATH: "/usr/bin:/bin", DOCKER_HOST: this.outside.docker, HOME: this.outside.root };
        this.process = spawn(variable("GPUBAY_TEST_DOCKER"), argv, { env, stdio: ["ignore", "pipe", "pipe"] });
        for (const stream of [this.process.stdout, this.process.stderr]) {
            stream.on("data", (data) => (this.log += data));
        }
        const port = await until("the editor inside listens", () => {
            if (this.process.exitCode !== null) {
                throw new Hopeless(`the server ended with ${this.process.exitCode}:\n${this.log}`);
            }
            return /HTTP server listening on http:\/\/0\.0\.0\.0:(\d+)/.exec(this.log)?.[1];
        });
        const address = await this.outside.dockerCli(
            ...["inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container],
        );
        // A browser trusts pages of this machine alone with all that an editor needs.
        this.way = net.createServer((here) => {
            const there = net.connect(Number(port), address);
            here.on("error", () => there.destroy()).on("close", () => there.destroy());
            there.on("error", () => here.destroy()).on("close", () => here.destroy());
            here.pipe(there).pipe(here);
        });
        await new Promise((listening) => this.way.listen(0, "127.0.0.1", listening));
        this.url = `http://127.0.0.1:${this.way.address().port}/?folder=${FOLDER}`;
        return this;
    }

    /** Where this machine has the folder that the agent shares with it. */
    runFolder() {
        const format = '{{range .Mounts}}{{if eq .Destination "/.gpubay/run"}}{{.Source}}{{end}}{{end}}';
        return this.outside.dockerCli("inspect", "--format", format, this.container);
    }

    /** A program of the editor, started by the engine as the container's user. */
    exec(script, ...argv) {
        const within = (file) => `${PROGRAMS}/${path.relative(vscode, file)}`;
        const env = { EXTENSIONS_GALLERY: JSON.stringify({ serviceUrl: "" }), LD_LIBRARY_PATH: "/opt/driver" };
        const variables = Object.entries(env).flatMap(([name, value]) => ["--env", `${name}=${value}`]);
        const program = [within(node), within(path.join(codeServer, script))];
        return ["exec", "--workdir", FOLDER, ...variables, this.container, ...program, ...argv];
    }

    /** It ends with its container; whoever started it does so at once. */
    stop() {
        this.way?.close();
        this.process?.kill();
    }
}
