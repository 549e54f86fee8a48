//! The CUDA of a base image against the driver, said before anything is pulled or built.
//!
//! The driver's library is the lab's fake; engine, images and builds are real. The images only bear the names of NVIDIA's.

use gpubay_e2e::{Bench, Driver, Editor, Who};
use serde_json::{Value, json};

/// An image of the lab by another name, for as long as this is held.
struct Named<'a>(&'a Bench, &'static str);

impl<'a> Named<'a> {
    fn of(bench: &'a Bench, name: &'static str) -> Self {
        bench.docker(&["tag", "gpubay-lab/python", name]).succeeded();
        Self(bench, name)
    }
}

impl Drop for Named<'_> {
    fn drop(&mut self) {
        self.0.docker(&["rmi", self.1]);
    }
}

const OLD: &str = "driver = 470.57.02\ncuda = 11040\n";
const NEW: &str = "driver = 550.54.15\ncuda = 12040\n";

fn machine(driver: &Driver, version: &str, brand: &str) {
    driver.tells_all(&format!("{version}{}{}", Driver::gpu(0, brand), Driver::gpu(1, brand)));
}

/// Those on CUDA: the engine has holes, too.
#[track_caller]
fn warnings(report: &Value) -> Vec<&str> {
    let all = report["warnings"].as_array().expect("a list").iter().map(|text| text.as_str().expect("text"));
    all.filter(|text| text.contains("CUDA")).collect()
}

#[test]
fn an_old_driver_is_said_before_a_build() {
    // Its name and tag are of this test alone.
    const NAME: &str = "nvidia/cuda:12.4.1-devel-ubuntu22.04";
    let mut bench = Bench::new("docker28", Who::Ordinary, "fit");
    let driver = Driver::of(&mut bench, ["", ""]);
    let _named = Named::of(&bench, NAME);
    bench.write("Dockerfile", "ARG CUDA=12.4.1\nFROM nvidia/cuda:${CUDA}-devel-ubuntu22.04\nRUN true\n");
    let needs = "Dockerfile:2: nvidia/cuda:12.4.1-devel-ubuntu22.04 brings CUDA 12.4, which needs driver >= 525.60.13, this is \
        470.57.02.";

    machine(&driver, OLD, "brand = geforce");
    let doctor = bench.run(&["doctor", "--json"]).json();
    let lines = doctor["findings"].as_array().expect("lines");
    let line = lines.iter().find(|line| line["check"] == "base").unwrap_or_else(|| panic!("{doctor:#}"));
    assert_eq!(
        (&line["verdict"], line["text"].as_str().expect("text")),
        (&json!("warning"), needs.trim_end_matches('.'))
    );

    // Before the build's own lines.
    let ran = bench.run(&["build"]);
    let said = &ran.succeeded().stderr;
    let (warned, built) = (said.find(needs), said.find("RUN true"));
    assert!(warned.is_some() && warned < built, "{said}");
    assert!(said.contains("start from CUDA 11.8"), "{said}");
    // One that is there is not built, and a container of it is made with the same driver.
    assert_eq!(warnings(&bench.json(&["build"])), [""; 0]);

    // GPUs for data centers have cuda-compat; another driver fits; the CPU needs none.
    for (version, brand, gpus) in
        [(OLD, "brand = tesla", "1"), (NEW, "brand = geforce", "1"), (OLD, "brand = geforce", "none")]
    {
        machine(&driver, version, brand);
        bench.docker(&["rmi", "--force", bench.json(&["build"])["image"]["reference"].as_str().expect("one")]);
        let report = bench.json(&["up", "--gpus", gpus]);
        assert_eq!(warnings(&report), [""; 0], "{version} {brand} {gpus}: {report:#}");
        bench.run(&["down"]).succeeded();
    }
}

#[test]
fn an_image_that_is_there_says_itself_what_it_brings() {
    let mut bench = Bench::new("docker28", Who::Ordinary, "inherited");
    let driver = Driver::of(&mut bench, ["", ""]);
    machine(&driver, NEW, "brand = nvidia");
    bench.write("Dockerfile", "FROM gpubay-lab/python\nENV CUDA_VERSION=13.0.2\n");
    assert_eq!(warnings(&bench.json(&["build"])), [""; 0], "nothing tells it yet");
    let ran = bench.run(&["up"]);
    let needs = "brings CUDA 13.0, which needs driver >= 580.65.06, this is 550.54.15";
    assert!(ran.succeeded().stderr.contains(needs) && ran.stdout.contains(needs), "{ran:?}");
    // Of what runs nothing is said again.
    assert!(!bench.run(&["up"]).succeeded().stderr.contains(needs));
    // Of a job it is: it gets a GPU.
    let ran = bench.run(&["run", "--gpus", "1", "--", "true"]);
    assert!(ran.succeeded().stderr.contains(needs) && ran.stdout.is_empty(), "{ran:?}");
}

#[test]
fn a_base_that_was_deleted_is_said_before_it_is_pulled() {
    let bench = Bench::new("docker28", Who::Ordinary, "gone");
    bench.write("gpubay.toml", "[image]\nfrom = \"nvidia/cuda:10.2-devel-ubuntu18.04\"\n");
    let (_, ran) = bench.error(&["up"]);
    let said = "[image] from: nvidia/cuda:10.2-devel-ubuntu18.04: CUDA 10.2 is past its life: its maker has deleted its images.";
    assert!(ran.stderr.contains(said), "{ran:?}");
    let next = "nvidia/cuda:12.0.1-devel-ubuntu22.04 is looked after; `gpubay init --base cuda:10.2` writes";
    assert!(ran.stderr.contains(next), "{ran:?}");
}

#[test]
fn the_editor_marks_the_line() {
    let mut bench = Bench::new("docker28", Who::Ordinary, "marked");
    let driver = Driver::of(&mut bench, ["", ""]);
    machine(&driver, OLD, "brand = geforce");
    bench.write("Dockerfile", "FROM gpubay-lab/python\n");
    let mut editor = Editor::of(&bench);
    let uri = format!("file://{}/Dockerfile", bench.workspace.display());
    let text = "ARG CUDA=12.4.1\nFROM nvidia/cuda:${CUDA}-devel-ubuntu22.04\n";
    let document = json!({ "uri": uri, "languageId": "dockerfile", "version": 1, "text": text });
    editor.notify("textDocument/didOpen", json!({ "textDocument": document }));
    let shown = editor.wait("the driver's mark", |message| {
        let params = &message["params"];
        message["method"] == "textDocument/publishDiagnostics"
            && params["diagnostics"].as_array().is_some_and(|all| !all.is_empty())
    });
    let diagnostic = &shown["params"]["diagnostics"][0];
    assert_eq!((&diagnostic["code"], &diagnostic["range"]["start"]["line"]), (&json!("base_cuda_driver"), &json!(1)));
    let said = diagnostic["message"].as_str().expect("text");
    assert!(said.contains("needs driver >= 525.60.13, this is 470.57.02"), "{said}");
    let hover = json!({ "textDocument": { "uri": uri }, "position": { "line": 1, "character": 4 } });
    let hover = editor.request("textDocument/hover", hover).expect("an answer");
    assert!(hover.to_string().contains("CUDA 12.4, needs driver >= 525.60.13."), "{hover:#}");
    drop(driver);
}

#[test]
fn a_base_for_a_toolkit_is_an_ordinary_one_or_a_recipe() {
    let bench = Bench::new("docker28", Who::Ordinary, "recipe");
    let text = |base: &str| {
        let report = bench.json(&["init", "--dry-run", "--offline", "--base", base]);
        let file = report["files"][0].clone();
        assert_eq!(file["path"], "docker/cuda/Dockerfile", "{report:#}");
        (file["text"].as_str().expect("text").to_owned(), report)
    };
    let (living, report) = text("cuda:12.4");
    assert!(living.contains("\nFROM nvidia/cuda:12.4.1-cudnn-devel-ubuntu22.04\n"), "{living}");
    assert_eq!(
        (&report["base"]["image"], &report["notes"]),
        (&json!("nvidia/cuda:12.4.1-cudnn-devel-ubuntu22.04"), &json!([]))
    );
    let (recipe, report) = text("cuda:10.2");
    assert!(recipe.contains("# UNSUPPORTED: ") && recipe.contains("\nFROM ubuntu:18.04\n"), "{recipe}");
    assert!(report["notes"][0].as_str().is_some_and(|note| note.starts_with("unsupported: ")), "{report:#}");
    let written = bench.run(&["init", "--offline", "--base", "nvidia/cuda:10.2-devel-ubuntu18.04"]);
    assert!(written.succeeded().stdout.contains("note  unsupported: NVIDIA has deleted"), "{written:?}");
    // Every builder can read it: what stops it is the archive, which cannot be reached from here, or the base.
    let ran = bench.run(&["build"]);
    assert!(!ran.stderr.contains("parse error") && !ran.stderr.contains("unknown instruction"), "{ran:?}");

    for (base, said) in [("cuda:9.2", "10.0, 10.1, 10.2"), ("cuda:12.7", "12.8"), ("cuda:latest", "no version of CUDA")]
    {
        let ran = bench.run(&["init", "--base", base]);
        assert!(ran.code == Some(2) && ran.stderr.contains(said) && ran.stderr.contains(base), "{ran:?}");
    }
}
