import { engine } from "../lib/lab.mjs";

export default {
    trust: true,
    files: {
        Dockerfile: "FROM gpubay-lab/busybox\n",
        ".vscode/settings.json": '{ "gpubay.helper.path": "/bin/false" }\n',
    },
    settings: { "gpubay.onOpen": "start", "security.workspace.trust.startupPrompt": "never" },
};

/** The engine is behind a socket of the test's, which sees who comes. */
export function prepare(editor) {
    editor.env.DOCKER_HOST = `unix://${editor.at("run/engine.sock")}`;
    editor.env.GPUBAY_TEST_ENGINE = engine("docker28").replace("unix://", "");
}
