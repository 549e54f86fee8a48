import path from "node:path";
import { FIXTURES, vsix } from "../lib/lab.mjs";

export default {
    files: {
        Dockerfile: "FROM gpubay-lab/busybox\n",
        ".vscode/extensions.json": '{ "recommendations": ["ms-python.python"] }\n',
    },
    settings: { "gpubay.onOpen": "nothing", "gpubay.python.configure": "never" },
    extensions: [path.join(FIXTURES, "attach-recorder"), vsix],
};
