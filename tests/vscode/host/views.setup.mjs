export default {
    files: { Dockerfile: "FROM gpubay-lab/busybox\n" },
    settings: { "gpubay.onOpen": "nothing", "gpubay.python.configure": "never" },
};
