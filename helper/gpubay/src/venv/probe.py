# Run inside the container with `python -c`, Python 3.6 or later; prints one JSON object.
# It imports nothing that an image may lack and never fails for one odd entry.
import json
import os
import sys


def folder(path):
    return bool(path) and os.path.isabs(path) and os.path.isdir(path)


def head_of(program):
    """The first bytes of what can be run."""
    try:
        if os.path.isfile(program) and os.access(program, os.X_OK):
            with open(program, "rb") as file:
                return file.read(256)
    except OSError:
        pass
    return b""


def is_python(head):
    return head.startswith(b"#!") and b"python" in head


def image_scripts(dists):
    """Programs of what can be imported, by name: beside the user site, and beside the interpreter.

    The second may be the folder of all of the system's programs. There those count that a distribution declares, and
    compiled ones that are called as a distribution is (Ruff).
    """
    found = {}
    try:
        import site

        where = os.path.join(site.getuserbase(), "bin")
        for name in sorted(os.listdir(where))[:1000] if site.ENABLE_USER_SITE else []:
            if is_python(head_of(os.path.join(where, name))):
                found.setdefault(name, os.path.join(where, name))
    except Exception:
        pass
    beside = [os.path.dirname(sys.executable)] if sys.executable else []
    try:
        import sysconfig

        beside.insert(0, sysconfig.get_path("scripts"))
    except Exception:
        pass
    for dist, name, _ in dists:
        native = {name, name.lower(), name.lower().replace("_", "-")}
        try:
            # The image's pip would install beside the venv instead of into it.
            scripts = {entry.name for entry in dist.entry_points if entry.group == "console_scripts" and name != "pip"}
        except Exception:
            scripts = set()
        for program in sorted(scripts | native):
            for where in unique(beside):
                path = os.path.join(where, program)
                head = head_of(path)
                if (program in scripts and is_python(head)) or (program in native and head.startswith(b"\x7fELF")):
                    found.setdefault(program, path)
    return sorted([name, program] for name, program in found.items())


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
    """What can be imported: each with its name and version."""
    try:
        from importlib import metadata
    except ImportError:
        return []
    found = []
    for dist in metadata.distributions(path=path):
        try:
            name, version = dist.metadata["Name"], dist.version
        except Exception:
            continue
        if name and version:
            found.append((dist, name, version))
    return found


def importable(dists):
    """What the interpreter can already import, for installers that cannot see it themselves.

    Neither what lies in the working directory nor an editable install counts: that is the user's own work.
    """
    found = {}
    for dist, name, version in dists:
        if name not in found and not is_editable(dist):
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
    dists = distributions(path)
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
                "image_scripts": image_scripts(dists),
                "paths": installed_paths(),
                "editable": [[entry, os.path.realpath(entry)] for entry in editable if folder(entry)],
                "unsaid": unsaid,
                "distributions": importable(dists),
                "conda": os.path.isdir(os.path.join(sys.prefix, "conda-meta")),
                "has_venv": has("venv"),
                "has_ensurepip": has("ensurepip"),
                "has_pip": has("pip"),
            }
        )
    )


main()
