use std::sync::{Arc, Mutex};

use super::*;
use crate::engine::build::dockerfile::parse;
use crate::progress::Event;

const DOCKERFILE: &str = "ARG V=1\nFROM a AS one\nRUN --network=none make\nCOPY --chown=1 x /x\nFROM one\nRUN make\n";

#[test]
fn a_step_is_found_by_its_number_and_else_by_its_words() {
    let parsed = parse(DOCKERFILE);
    for (line, want) in [
        ("Step 3/6 : RUN --network=none make", Some(3)),
        ("Step 4/6 : COPY --chown=1 x /x", Some(4)),
        ("Step 6/6 : RUN   make", Some(6)),
        ("Step 5/6 : FROM one", None),
        ("Step 9/9 : RUN make", Some(3)),
        ("Step 7/7 : LABEL a=b", None),
        ("[1/2] STEP 3/3: COPY --chown=1 x /x", Some(4)),
        ("[2/2] STEP 2/2: RUN make", Some(6)),
        ("STEP 2/2: RUN make", Some(3)),
    ] {
        let at = at(line).unwrap_or_else(|| panic!("{line}"));
        assert_eq!(at.instruction(&parsed).map(|one| one.line), want, "{line}");
    }
    for line in ["Step by step", "Step 1/x : RUN", "[x] STEP 1/2: RUN", "STEP 1/2 RUN"] {
        assert_eq!(at(line), None, "{line}");
    }
}

/// What is told of these texts.
fn told(texts: &[&str]) -> Vec<String> {
    let events = Arc::new(Mutex::new(Vec::new()));
    let own = Arc::clone(&events);
    let progress = Progress::new(move |event| own.lock().expect("events").push(event));
    let mut steps = Steps::new(&progress, Redactor::default());
    for text in texts {
        steps.message(serde_json::json!({ "stream": text }).to_string().as_bytes());
    }
    steps.message(br#"{"aux":{"ID":"sha256:x"}}"#);
    steps.end();
    let events = events.lock().expect("events");
    let told = |event: &Event| match event {
        Event::Started { title, .. } => title.clone(),
        Event::Output { line, .. } => format!("  {line}"),
        Event::Ended { end, .. } => format!("{end:?}"),
        other => format!("{other:?}"),
    };
    events.iter().map(told).collect()
}

#[test]
fn what_the_engine_says_is_told_from_what_a_step_prints() {
    let docker = [
        "Step 1/3 : FROM a",
        "\n",
        " ---> 0123\n",
        "Step 2/3 : RUN x",
        "\n",
        " ---> Running in 45\n",
        "half",
        " a line\n",
        "\u{1b}[91mred\n\u{1b}[0m",
        "10%\r100%",
        "Removing intermediate container 45\n",
        " ---> 67\n",
        "Step 3/3 : RUN y",
        "\n",
        " ---> Using cache\n",
        " ---> [Warning] old\n",
        "Successfully built 0123456789ab\n",
    ];
    assert_eq!(
        told(&docker),
        [
            "[1/3] FROM a",
            "Done",
            "[2/3] RUN x",
            "  half a line",
            "  red",
            "  100%",
            "Done",
            "[3/3] RUN y",
            "Warning(\"old\")",
            "Cached",
        ]
    );
    let podman = [
        "[1/2] STEP 1/2: FROM a AS one\n",
        "[1/2] STEP 2/2: RUN x\n",
        "out\n",
        "--> 0123\n",
        "[2/2] STEP 1/1: FROM one\n",
        "--> Using cache 45\n",
        "COMMIT me/x:1\n",
        "--> 67\n",
        "Successfully tagged localhost/me/x:1\n",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
    ];
    assert_eq!(
        told(&podman),
        ["[1: 1/2] FROM a AS one", "Done", "[1: 2/2] RUN x", "  out", "Done", "[2: 1/1] FROM one", "Cached"]
    );
}

#[test]
fn a_program_cannot_end_its_own_step() {
    let texts = ["Step 1/2 : FROM a", "\n", "Step 2/2 : RUN x", "\n", "Step 9/9 : RUN evil\n", "Step 1/2 : FROM b\n"];
    let told = told(&texts);
    assert!(!told.iter().any(|line| line.starts_with("[9/9]") || line.ends_with("FROM b")), "{told:?}");
}

/// pip says the same of a wheel.
#[test]
fn a_program_that_says_it_built_something_has_built_no_image() {
    let id = |lines: &[&str]| {
        let progress = Progress::silent();
        let mut steps = Steps::new(&progress, Redactor::default());
        for line in lines {
            steps.message(serde_json::json!({ "stream": format!("{line}\n") }).to_string().as_bytes());
        }
        steps.end();
        steps.image_id
    };
    assert_eq!(id(&["Step 1/2 : RUN pip", "Successfully built six"]), None);
    let said = ["Step 1/2 : RUN pip", "Successfully built 0123456789ab", "Successfully built ba9876543210"];
    assert_eq!(id(&said).as_deref(), Some("ba9876543210"));
}

#[test]
fn a_long_instruction_is_a_short_title_and_is_still_found() {
    let long = format!("RUN {}", "make  all && ".repeat(100));
    let told = told(&["Step 1/2 : FROM a\n", &format!("Step 2/2 : {long}\n")]);
    let title = told.iter().find(|line| line.starts_with("[2/2] RUN make all")).expect("a title");
    assert!(title.chars().count() <= 100 && title.ends_with('…'), "{title}");
    let found = at(&format!("Step 2/2 : {long}")).expect("a step");
    assert_eq!(found.instruction(&parse(&format!("FROM a\n{long}\n"))).map(|one| one.line), Some(2));
}

#[test]
fn what_the_engine_repeats_of_a_command_is_short_and_the_reason_whole() {
    use crate::engine::build::status::short_command;
    let long = "make all && ".repeat(100);
    for (before, after) in [
        ("process \"/bin/sh -c ", "\" did not complete successfully: cannot allocate memory"),
        ("executor failed running [/bin/sh -c ", "]: exit code: 7"),
        ("The command '/bin/sh -c ", "' returned a non-zero code: 7"),
        ("building at STEP \"RUN ", "\": while running runtime: exit status 7"),
    ] {
        let short = short_command(&format!("{before}{long}{after}"));
        assert!(short.starts_with(before) && short.ends_with(&format!("…{after}")), "{short}");
        assert!(short.chars().count() < 200, "{short}");
    }
    assert_eq!(short_command("no space left on device"), "no space left on device");
}
