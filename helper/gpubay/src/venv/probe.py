# Run inside the container with `python -c`, Python 3.6 or later; prints one JSON object.
# It imports nothing that an image may lack and never fails for one odd entry.
import json
import os
import sys


def folder(path):
    return bool(path) and os.path.isabs(path) and os.path.isdir(path)


def user_scripts():
    """Programs beside the user site whose first line names a Python, by name."""
    found = []
    try:
        import site

        where = os.path.join(site.getuserbase(), "bin")
        for name in sorted(os.listdir(where))[:1000] if site.ENABLE_USER_SITE else []:
            path = os.path.join(where, name)
            if not os.path.isfile(path) or not os.access(path, os.X_OK):
                continue
            with open(path, "rb") as file:
                head = file.read(256)
            if head.startswith(b"#!") and b"python" in head:
                found.append([name, path])
    except Exception:
        pass
    return found


def unique(paths):
    seen = []
    for path in paths:
        if path and path not in seen:
            seen.append(path)
    return seen


def installed_paths():
    try:
        import sysconfig

        got = sysconfig.get_paths()
        return {name: got.get(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    except Exception:
        return {}


def sites():
    try:
        import site

        got = list(site.getsitepackages()) if hasattr(site, "getsitepackages") else []
        user = site.getusersitepackages()
        return got, user, bool(site.ENABLE_USER_SITE)
    except Exception:
        return [], None, False


def mappings(tree):
    """The dictionaries in a hook that say where modules lie."""
    import ast

    for node in tree.body:
        if isinstance(node, ast.AnnAssign):
            targets, value = [node.target], node.value
        elif isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and node.value.args:
            # scikit-build-core: install({"module": "/its/file.py"}, ...)
            targets, value = [getattr(node.value, "func", None)], node.value.args[0]
        else:
            continue
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if names and names[0] in ("MAPPING", "NAMESPACES", "install"):
            try:
                found = ast.literal_eval(value)
            except Exception:
                continue
            if isinstance(found, dict):
                yield found


def hook_folders(path):
    """The folders that an editable install's import hook serves, and what it serves that no folder can say.

    Read from its text, never run.
    """
    import ast

    found, unsaid = [], []
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read(1 << 20))
    except Exception:
        return found, [os.path.basename(path)]
    any_mapping = False
    for mapping in mappings(tree):
        any_mapping = True
        for name, where in mapping.items():
            for one in where if isinstance(where, list) else [where]:
                if not isinstance(name, str) or not isinstance(one, str):
                    continue
                # `a.b` -> /src/a/b is importable from /src; another layout cannot be said as a path.
                tail = os.sep + name.replace(".", os.sep)
                for ending in ("", ".py", os.sep + "__init__.py"):
                    if one.endswith(tail + ending):
                        found.append(one[: len(one) - len(tail + ending)] or os.sep)
                        break
                else:
                    if one.endswith((".py", tail)) or "." not in os.path.basename(one):
                        unsaid.append("%s (%s)" % (name, one))
    return found, unsaid if any_mapping else [os.path.basename(path)]


def is_hook(name):
    if name.startswith("__editable__") and name.endswith("_finder.py"):
        return True
    # scikit-build-core and meson-python.
    return name.startswith("_") and name.endswith(("_editable.py", "_editable_loader.py"))


def editables(folders):
    found, unsaid = [], []
    for where in folders:
        try:
            names = sorted(os.listdir(where))
        except OSError:
            continue
        for name in names:
            if is_hook(name):
                more, lost = hook_folders(os.path.join(where, name))
                found.extend(more)
                unsaid.extend(lost)
    return unique(found), unique(unsaid)


def is_editable(dist):
    try:
        url = json.loads(dist.read_text("direct_url.json") or "{}")
        return bool(url.get("dir_info", {}).get("editable"))
    except Exception:
        return False


def distributions(path):
    """What the interpreter can already import, for installers that cannot see it themselves.

    Neither what lies in the working directory nor an editable install counts: that is the user's own work.
    """
    try:
        from importlib import metadata
    except ImportError:
        return []
    found = {}
    for dist in metadata.distributions(path=path):
        try:
            name, version = dist.metadata["Name"], dist.version
        except Exception:
            continue
        if name and version and name not in found and not is_editable(dist):
            found[name] = version
    return sorted([name, version] for name, version in found.items())


def has(module):
    try:
        import importlib.util

        return importlib.util.find_spec(module) is not None
    except Exception:
        return False


def main():
    # `-c` puts the working directory first; a script's environment does not have it.
    path = [entry for entry in sys.path if entry and os.path.isabs(entry)]
    folders = unique(entry for entry in path if folder(entry))
    site_packages, user_site, user_enabled = sites()
    editable, unsaid = editables(folders)
    print(
        json.dumps(
            {
                "version": ".".join(str(part) for part in sys.version_info[:3]),
                "implementation": getattr(sys.implementation, "name", "cpython"),
                "executable": sys.executable,
                "prefix": sys.prefix,
                "base_prefix": getattr(sys, "base_prefix", sys.prefix),
                "path": [[entry, os.path.realpath(entry)] for entry in folders],
                "archives": unique(entry for entry in path if os.path.isfile(entry)),
                "site_packages": [entry for entry in site_packages if folder(entry)],
                "user_site": user_site if user_enabled and folder(user_site) else None,
                "user_scripts": user_scripts(),
                "paths": installed_paths(),
                "editable": [[entry, os.path.realpath(entry)] for entry in editable if folder(entry)],
                "unsaid": unsaid,
                "distributions": distributions(path),
                "conda": os.path.isdir(os.path.join(sys.prefix, "conda-meta")),
                "has_venv": has("venv"),
                "has_ensurepip": has("ensurepip"),
                "has_pip": has("pip"),
            }
        )
    )


main()
