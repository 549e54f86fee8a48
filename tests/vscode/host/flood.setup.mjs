import { chmodSync, readFileSync } from "node:fs";
import path from "node:path";

export default {
    files: { Dockerfile: "FROM gpubay-lab/busybox\n" },
    settings: { "gpubay.onOpen": "nothing", "gpubay.python.configure": "never" },
};

/** The setting is of the machine that the extension host runs on. */
export function prepare(editor) {
    const standIn = editor.at("run/stand-in");
    editor.writeAt(standIn, readFileSync(path.join(import.meta.dirname, "driver/stand-in.js")));
    chmodSync(standIn, 0o755);
    editor.writeAt(editor.at("data/Machine/settings.json"), JSON.stringify({ "gpubay.helper.path": standIn }));
}
