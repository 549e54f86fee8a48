# Run inside the container by the image's interpreter: `python -c <this> VENV`. Makes the venv there,
# or finds it in order, and prints one JSON object as its last line. Python 3.6 or later.
import json
import os
import sys


def read_version(venv):
    try:
        with open(os.path.join(venv, "pyvenv.cfg")) as file:
            for line in file:
                name, _, value = line.partition("=")
                if name.strip() in ("version", "version_info"):
                    return ".".join(value.strip().split(".")[:3])
    except OSError:
        pass
    return None


def site_folders():
    """What this interpreter imports from and a venv of its base does not."""
    import site

    base = set()
    for prefix in {getattr(sys, "base_prefix", sys.prefix), getattr(sys, "base_exec_prefix", sys.exec_prefix)}:
        try:
            base.update(os.path.realpath(path) for path in site.getsitepackages([prefix]))
        except Exception:
            pass
    found = []
    for path in site.getsitepackages():
        if os.path.isdir(path) and os.path.realpath(path) not in base:
            found.append(path)
    return found


def by_hand(venv, base_home):
    """The layout that the `venv` module makes; some images lack the module."""
    site_packages = os.path.join(venv, "lib", "python%d.%d" % sys.version_info[:2], "site-packages")
    os.makedirs(site_packages, exist_ok=True)
    os.makedirs(os.path.join(venv, "bin"), exist_ok=True)
    with open(os.path.join(venv, "pyvenv.cfg"), "w") as file:
        file.write("home = %s\ninclude-system-site-packages = true\n" % base_home)
        file.write("version = %d.%d.%d\n" % sys.version_info[:3])


def see_the_image(venv):
    """`python -m venv --upgrade` on a venv forgets that it was to see the system's packages."""
    path = os.path.join(venv, "pyvenv.cfg")
    with open(path) as file:
        lines = file.read().splitlines()
    other = [line for line in lines if line.partition("=")[0].strip() != "include-system-site-packages"]
    wanted = "include-system-site-packages = true"
    if wanted not in lines or len(lines) != len(other) + 1:
        write(path, "\n".join(other + [wanted]) + "\n", 0o644)


def link(venv, target):
    names = ("python", "python3", "python%d.%d" % sys.version_info[:2])
    for name in names:
        path = os.path.join(venv, "bin", name)
        wanted = target if name == "python" else "python"
        if os.path.islink(path) and os.readlink(path) == wanted:
            continue
        if os.path.lexists(path):
            os.unlink(path)
        os.symlink(wanted, path)


def write(path, text, mode):
    temporary = path + ".gpubay-new"
    with open(temporary, "w") as file:
        file.write(text)
    os.chmod(temporary, mode)
    os.rename(temporary, path)


def main(venv):
    version = "%d.%d.%d" % sys.version_info[:3]
    base = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    if sys.prefix != getattr(sys, "base_prefix", sys.prefix):
        # A venv's `home` must be where the base interpreter lies.
        here = os.path.join(sys.base_prefix, "bin", "python%d.%d" % sys.version_info[:2])
        base = here if os.path.exists(here) else base
    else:
        base = sys.executable
    if os.path.isdir(venv) and os.listdir(venv):
        old = read_version(venv)
        if old is None or old.split(".")[:2] != version.split(".")[:2]:
            return {"state": "mismatch", "found": old}
        python = os.path.join(venv, "bin", "python")
        # The same version elsewhere: what the venv's python leads to is gone, or another one.
        if os.path.lexists(python) and os.path.realpath(python) != os.path.realpath(base):
            return {"state": "mismatch", "found": old}
        see_the_image(venv)
        state = "reused"
    else:
        state = "created"
    if state == "created":
        try:
            import venv as module

            builder = module.EnvBuilder(system_site_packages=True, with_pip=False, symlinks=True)
            builder.create(venv)
        except ImportError:
            by_hand(venv, os.path.dirname(base))
    if not os.path.exists(os.path.join(venv, "bin", "python")):
        os.makedirs(os.path.join(venv, "bin"), exist_ok=True)
        link(venv, base)

    site_packages = os.path.join(venv, "lib", "python%d.%d" % sys.version_info[:2], "site-packages")
    os.makedirs(site_packages, exist_ok=True)
    pth = os.path.join(site_packages, "_gpubay_image.pth")
    folders = site_folders()
    if folders:
        # addsitedir also reads the .pth files in there, which a plain path line would not.
        lines = ["import site; site.addsitedir(%r)\n" % folder for folder in folders]
        # A language tool reads only path lines.
        lines += [folder + "\n" for folder in folders if "\n" not in folder]
        write(pth, "".join(lines), 0o644)
    elif os.path.lexists(pth):
        os.unlink(pth)

    pip = os.path.join(venv, "bin", "pip")
    if not os.path.lexists(pip):
        python = os.path.join(venv, "bin", "python")
        if " " in python or len(python) > 120:
            # A first line cannot say this path.
            text = "#!/bin/sh\nexec '%s' -m pip \"$@\"\n" % python.replace("'", "'\"'\"'")
        else:
            text = "#!%s\nimport runpy\nrunpy.run_module('pip', run_name='__main__', alter_sys=True)\n" % python
        write(pip, text, 0o755)
    return {"state": state, "found": version}


try:
    answer = main(sys.argv[1])
except Exception as error:
    answer = {"state": "failed", "found": "%s: %s" % (type(error).__name__, error)}
print(json.dumps(answer))
