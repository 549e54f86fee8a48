//! Images that follow one another, each with one more package: what is mirrored of the one before serves the next.

use gpubay_e2e::{Bench, Who};

#[test]
fn one_more_package_costs_that_package() {
    let bench = Bench::new("docker28", Who::Ordinary, "rebuilds");
    bench.write("gpubay.toml", "[gpus]\nuse = \"none\"\n");
    let mut dockerfile = "FROM gpubay-lab/python\n".to_owned();
    let site = "/usr/local/lib/python3.11/dist-packages";
    let mut before = 0;
    for n in 0..4 {
        bench.write("Dockerfile", &dockerfile);
        let report = bench.up();
        let mirror = &report["mirror"];
        let count = |name: &str| mirror[name].as_u64().unwrap_or_else(|| panic!("{name}: {report}"));
        if n > 0 {
            // A source and a compiled module, which is an empty file here.
            assert_eq!((count("written_files"), count("written_bytes")), (2, 1000), "{report}");
            assert_eq!(count("linked_files"), before, "{report}");
        }
        before = count("files");
        dockerfile.push_str(&format!(
            "RUN mkdir -p {site}/p{n} && head -c 1000 /dev/zero | tr '\\0' '#' > {site}/p{n}/__init__.py && \
             head -c 9000 /dev/zero > {site}/p{n}/c.so\n"
        ));
        let again = bench.up();
        assert!(again["mirror"].is_null(), "nothing was to be done: {again}");
    }
    let module = "import p0, p1, p2";
    assert_eq!(bench.python(&["-c", module]).status().expect("started").code(), Some(0));
}
