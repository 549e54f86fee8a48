use proptest::prelude::*;

use super::*;

const SAMPLE: &str = "# syntax=docker/dockerfile:1
# escape=\\

ARG TAG=12 # not a comment here
from debian:$TAG as Base
ARG A B=2
RUN --mount=type=cache,target=/c --network=none \\
    # a comment within

    make all
COPY --from=0 [\"a b\", \"/x\"]
RUN <<EOF cat - && <<-'TWO' cat
FROM nowhere
EOF
\tCOPY nothing
\tTWO
FROM base
ONBUILD COPY . /app
Run exit 3
";

#[test]
fn a_dockerfile_is_read_by_stages_and_lines() {
    let parsed = parse(SAMPLE);
    assert_eq!(parsed.syntax.as_deref(), Some("docker/dockerfile:1"));
    assert_eq!(parsed.globals.len(), 1);
    assert_eq!(parsed.stages.len(), 2);
    let base = &parsed.stages[0];
    assert_eq!((base.name.as_deref(), base.base.as_str(), base.line), (Some("base"), "debian:$TAG", 5));
    let lines: Vec<_> = base.instructions.iter().map(|one| (one.line, one.keyword.as_str())).collect();
    assert_eq!(lines, [(6, "ARG"), (7, "RUN"), (11, "COPY"), (12, "RUN")]);
    let run = &base.instructions[1];
    assert_eq!(run.flags[0], ("mount".to_owned(), "type=cache,target=/c".to_owned()));
    assert_eq!(run.rest, "make all");
    assert!(parsed.stages[1].instructions[0].onbuild);
    assert_eq!(parsed.stages[1].instructions[1].line, 19);
    assert_eq!(declared_args(SAMPLE), ["A", "B", "TAG", "#", "not", "a", "comment", "here"].map(String::from).into());
}

#[test]
fn the_escape_character_can_be_another() {
    let parsed = parse("# escape=`\nFROM a\nCOPY a `\n  b\nCOPY c:\\\nRUN x");
    let rests: Vec<_> = parsed.stages[0].instructions.iter().map(|one| one.rest.as_str()).collect();
    assert_eq!(rests, ["a   b", "c:\\", "x"]);
}

#[test]
fn variables() {
    let known = BTreeMap::from([("A".to_owned(), "x".to_owned()), ("E".to_owned(), String::new())]);
    for (text, want) in [
        ("a$A/b", Some("ax/b")),
        ("${A}b", Some("xb")),
        ("\\$A", Some("$A")),
        ("${E:-d${A}}", Some("dx")),
        ("${A:-d}", Some("x")),
        ("${A:+y}", Some("y")),
        ("${E:+y}", Some("")),
        ("$B", None),
        ("${B:-x}", None),
        ("${A#x}", None),
        ("${A", None),
        ("$", None),
    ] {
        assert_eq!(expand(text, &known, '\\').as_deref(), want, "{text}");
    }
}

#[test]
fn steps_are_found_by_their_names() {
    let parsed = parse(SAMPLE);
    for (step, line) in [
        ("[base 2/4] RUN --mount=type=cache,target=/c make all", Some(7)),
        ("[base 3/4] COPY --from=0 [a b, /x]", Some(11)),
        ("[stage-1 2/2] RUN exit 3", Some(19)),
        ("[2/2] RUN exit 3", Some(19)),
        ("[7/9] RUN exit 3", Some(19)),
        ("[internal] load metadata for x", None),
        ("exporting to image", None),
    ] {
        assert_eq!(locate(&parsed, step, None).map(|one| one.line), line, "{step}");
    }
}

#[test]
fn stages_have_names_and_numbers() {
    let parsed = parse("FROM a AS One\nFROM b\nFROM c AS three");
    for (target, want) in
        [(None, Some(2)), (Some("ONE"), Some(0)), (Some("1"), Some(1)), (Some("x"), None), (Some("3"), None)]
    {
        assert_eq!(parsed.stage(target), want, "{target:?}");
    }
    assert_eq!(parse("").stage(None), None);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(FROM a|RUN |COPY |<<E|--x=|\\$\\{|\\}|\\\\|\n|#|\"|é| |E){0,30}", step in "\\[?[a-z0-9/ ]{0,6}\\]? ?(RUN|é)?") {
        let parsed = parse(&text);
        let _ = locate(&parsed, &step, None);
        let _ = expand(&text, &BTreeMap::new(), '\\');
    }
}
