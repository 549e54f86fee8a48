# Handed to the container's Python with `-c`, for a script that only the host has. Its arguments:
# how many files; for each its path, the number of its pieces and the pieces; then the script's argv.
def _gpubay_load():
    import os
    import runpy
    import sys

    given = sys.argv[1:]
    files = {}
    for _ in range(int(given.pop(0))):
        path, pieces = given[0], int(given[1])
        files[path] = b"".join(os.fsencode(piece) for piece in given[2 : 2 + pieces])
        del given[: 2 + pieces]
    sys.argv[:] = given
    script = given[0]
    # A script has its folder where `-c` has the empty entry; -I and -P have neither.
    if sys.path and sys.path[0] == "":
        sys.path[0] = os.path.dirname(script)

    real_run_path = runpy.run_path

    def run_path(path_name, init_globals=None, run_name=None):
        if path_name not in files:
            return real_run_path(path_name, init_globals, run_name)
        names = dict(init_globals or {})
        names.update(__name__=run_name or "<run_path>", __file__=path_name, __builtins__=__builtins__)
        exec(compile(files[path_name], path_name, "exec"), names)
        return names

    runpy.run_path = run_path
    return compile(files[script], script, "exec"), script


_gpubay_code, __file__ = _gpubay_load()
del _gpubay_load
exec(_gpubay_code)
