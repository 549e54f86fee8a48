# Run inside the container by the venv's interpreter; prints a JSON list as its last line. Says which requirements of
# the packages that lie in the venv are not met by the version that would be imported.
import json
import os
import sys

found = []
try:
    from importlib import metadata

    try:
        from packaging.requirements import Requirement
    except ImportError:
        from pip._vendor.packaging.requirements import Requirement
    path = [entry for entry in sys.path if entry and os.path.isabs(entry)]
    seen = set()
    for dist in metadata.distributions(path=path):
        name = dist.metadata["Name"]
        if not name or name in seen:
            continue
        seen.add(name)
        if not str(dist.locate_file("")).startswith(sys.prefix + os.sep):
            continue
        for text in dist.requires or []:
            try:
                wanted = Requirement(text)
                if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
                    continue
                has = next(iter(metadata.distributions(name=wanted.name, path=path)), None)
                if has is None or wanted.specifier.contains(has.version, prereleases=True):
                    continue
            except Exception:
                continue
            wants = wanted.name + str(wanted.specifier)
            found.append({"by": name, "wants": wants, "has": "%s %s" % (wanted.name, has.version)})
except Exception:
    pass
print(json.dumps(found))
