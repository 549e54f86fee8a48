export default {
    trust: true,
    files: {
        Dockerfile: "FROM gpubay-lab/busybox\n",
        ".vscode/settings.json": '{ "gpubay.helper.path": "/bin/false" }\n',
    },
    settings: { "gpubay.onOpen": "start", "security.workspace.trust.startupPrompt": "never" },
};
