import { chmodSync, readFileSync } from "node:fs";
import path from "node:path";

export default {
    files: { Dockerfile: "FROM gpubay-lab/busybox\n", "train.py": "print('coral')\n" },
    settings: { "gpubay.onOpen": "nothing", "gpubay.python.configure": "never" },
};

export function prepare(editor) {
    const program = (name, text, mode) => {
        const file = editor.at("run", name);
        editor.writeAt(file, text);
        chmodSync(file, mode);
    };
    program("plain", "#!/bin/sh\n", 0o644);
    program("other", readFileSync(path.join(import.meta.dirname, "driver/other-version.js")), 0o755);
    editor.env.GPUBAY_TEST_RUN = editor.at("run");
}
