//! Pythons and installs of many shapes: other versions, several in one image, what is never replaced.

use gpubay_e2e::{Bench, Ran, Who};

fn with(dockerfile: &str, toml: &str, requirements: &str) -> Bench {
    let bench = Bench::new("docker28", Who::Ordinary, "shape");
    bench.write("Dockerfile", dockerfile);
    bench.write("gpubay.toml", toml);
    bench.write("requirements.txt", requirements);
    bench
}

#[track_caller]
fn python(bench: &Bench, code: &str) -> String {
    let output = bench.python(&["-c", code]).output().expect("started");
    Ran::of(&output, &["python", "-c", code]).succeeded().stdout.trim().to_owned()
}

/// A package that needs no building, made by hand.
fn wheel(bench: &Bench, name: &str, more: &str) {
    let code = "import sys, zipfile\n\
        name, version = sys.argv[1].split('-')[:2]\n\
        info = f'{name}-{version}.dist-info'\n\
        with zipfile.ZipFile(sys.argv[1], 'w') as z:\n    \
            z.writestr(f'{name}/__init__.py', '')\n    \
            z.writestr(f'{info}/METADATA', f'Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n{sys.argv[2]}')\n    \
            z.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n    \
            z.writestr(f'{info}/RECORD', '')\n";
    let made = bench.command("/usr/bin/python3").args(["-c", code, name, more]).status().expect("started");
    assert!(made.success());
}

const WHERE: &str = "import importlib.util as u, importlib.metadata as m; \
    print([(n, m.version(n), u.find_spec(n).origin) for n in ('numpy', 'einops')])";

/// numpy is Debian's; `bottleneck` depends on it, and einops is pinned by the image's own constraints.
fn nothing_of_the_image_is_replaced(installer: &str) {
    let dockerfile = "FROM gpubay-lab/trixie\n\
        RUN --mount=type=cache,target=/root/.cache/pip pip install --break-system-packages uv==0.13.9\n\
        RUN echo einops==0.8.0 > /etc/constraint.txt\n\
        ENV PIP_CONSTRAINT=/etc/constraint.txt SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt\n";
    let toml =
        format!("[venv]\nrequirements = [\"requirements.txt\"]\ninstaller = \"{installer}\"\n[gpus]\nuse = \"none\"\n");
    let bench = with(dockerfile, &toml, "bottleneck\neinops\nnumpy>=2\n");
    bench.up();
    let numpy = "/usr/lib/python3/dist-packages/numpy/__init__.py";
    let found = python(&bench, WHERE);
    assert!(found.contains("('numpy', '2.2.4', ") && found.contains(numpy), "{installer}: {found}");
    assert!(found.contains("('einops', '0.8.0', "), "{installer}: {found}");
    let venv = python(&bench, "import bottleneck; print(bottleneck.__file__)");
    assert!(venv.starts_with("/workspace/.venv/"), "{installer}: {venv}");

    // Only what truly conflicts is refused, by a sentence, and what was installed stays.
    bench.write("requirements.txt", "bottleneck\nnumpy==2.3.0\n");
    let refused = bench.run(&["up"]);
    refused
        .failed("requirements.txt:2 asks for numpy==2.3.0, and the image brings numpy 2.2.4, which is never replaced");
    bench.write("requirements.txt", "bottleneck\n-r more.txt\n");
    let made = bench.command("mkfifo").arg("more.txt").status().expect("started");
    assert!(made.success());
    bench.run(&["up"]).failed("more.txt cannot be read: it is a named pipe");
    std::fs::remove_file(bench.workspace.join("more.txt")).expect("removed");

    // What no version of the image's can satisfy: pip refuses, uv was not told and says so afterwards.
    wheel(&bench, "wants-1-py3-none-any.whl", "Requires-Dist: numpy>=99\nRequires-Dist: nothing; extra == 'x'\n");
    bench.write("requirements.txt", "./wants-1-py3-none-any.whl\n");
    if installer == "pip" {
        bench.run(&["up"]).failed("What the image brings is never replaced");
    } else {
        let warnings = bench.up()["warnings"].to_string();
        assert!(warnings.contains("wants asks for numpy>=99, and the image's numpy 2.2.4 stays"), "{warnings}");
    }
    assert!(python(&bench, WHERE).contains(numpy));
}

#[test]
fn pip_replaces_nothing_of_the_image() {
    nothing_of_the_image_is_replaced("pip");
}

#[test]
fn uv_replaces_nothing_of_the_image() {
    nothing_of_the_image_is_replaced("uv");
}
