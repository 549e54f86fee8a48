export default {
    workspace: "reefs",
    files: {
        "coral/Dockerfile": "FROM gpubay-lab/busybox\n",
        "kelp/Dockerfile": "FROM gpubay-lab/busybox\n",
        "sand/notes.txt": "nothing to build\n",
        "all.code-workspace": '{ "folders": [{ "path": "coral" }, { "path": "kelp" }] }\n',
    },
    settings: { "gpubay.onOpen": "nothing", "gpubay.python.configure": "never" },
    /** Opened instead of the folder. */
    open: "all.code-workspace",
};
