# Handed to the container's Python with `-c`, for code that imports from a folder that only the host has. Its arguments:
# the folder; how many files; for each its path below, the number of its pieces and the pieces; then the code and its argv.
def _gpubay_load():
    import os
    import sys
    from importlib.machinery import ModuleSpec

    given = sys.argv[1:]
    folder = given.pop(0)
    files = {}
    for _ in range(int(given.pop(0))):
        path, pieces = given[0], int(given[1])
        files[path] = b"".join(os.fsencode(piece) for piece in given[2 : 2 + pieces])
        del given[: 2 + pieces]
    sys.argv[1:] = given[1:]

    class Loader:
        def __init__(self, path):
            self.path = path

        def create_module(self, spec):
            return None

        def exec_module(self, module):
            exec(compile(files[self.path], os.path.join(folder, self.path), "exec"), module.__dict__)

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            for tail in ("/__init__.py", ".py"):
                path = name.replace(".", "/") + tail
                if path in files:
                    spec = ModuleSpec(name, Loader(path), origin=os.path.join(folder, path), is_package=tail != ".py")
                    spec.has_location = True
                    return spec
            return None

    sys.meta_path.insert(0, Finder)
    return compile(given[0], "<string>", "exec")


_gpubay_code = _gpubay_load()
del _gpubay_load
exec(_gpubay_code)
