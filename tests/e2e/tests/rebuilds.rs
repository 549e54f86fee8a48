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

/// Two folders with one Dockerfile have an image each, which differ in whose they are and not in their files.
#[test]
fn folders_with_the_same_image_share_its_mirror() {
    let one = Bench::new("docker28", Who::Ordinary, "one");
    let two = one.home.join("two");
    std::fs::create_dir(&two).expect("made");
    one.own(&two);
    for folder in ["", "../two/"] {
        one.write(&format!("{folder}Dockerfile"), "FROM gpubay-lab/python\nRUN echo shared > /shared\n");
        one.write(&format!("{folder}gpubay.toml"), "[gpus]\nuse = \"none\"\n");
    }
    let first = one.up();
    let second = one.json(&["up", "-C", "../two"]);
    one.run(&["-C", "../two", "down", "--force"]).succeeded();
    assert_eq!(
        (&second["mirror"]["written_files"], &second["mirror"]["linked_files"]),
        (&0.into(), &0.into()),
        "{second}"
    );
    let root = |report: &serde_json::Value| report["host_env"]["roots"].to_string();
    let mirrored = |text: &str| text.split('"').find(|part| part.contains("/mirror/base/")).map(str::to_owned);
    assert!(mirrored(&root(&first)).is_some());
    assert_eq!(mirrored(&root(&first)), mirrored(&root(&second)));
}
