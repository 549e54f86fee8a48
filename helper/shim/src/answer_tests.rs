use gpubay_protocol::paths::{HostPath, PathMap};

use super::*;
use crate::plan::test_place;

fn filter(place: Place, wants_program: bool) -> Filter {
    Filter { place, held: Vec::new(), tried: 0, seen: 0, wants_program }
}

fn filtered(text: &[u8], step: usize) -> Vec<u8> {
    passed(filter(test_place(), false), text, step)
}

fn passed(mut filter: Filter, text: &[u8], step: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in text.chunks(step) {
        out.extend(filter.push(piece));
    }
    out.extend(filter.end());
    out
}

#[test]
fn what_tools_ask_is_answered_in_host_terms() {
    for (inside, outside) in [
        // Pyright
        (
            "{\"path\": [\"/usr/lib/python311.zip\", \"/usr/lib/python3.11\", \"/app/.venv/lib/python3.11/site-packages\", \"/usr/lib/python3/dist-packages\"], \"prefix\": \"/app/.venv\"}\n",
            "{\"path\": [ \"/cache/m/usr/lib/python3.11\", \"/data/v/lib/python3.11/site-packages\"], \"prefix\": \"/home/ada/ws/.venv\"}\n",
        ),
        ("[3,12,7,\"final\",0]\n", "[3,12,7,\"final\",0]\n"),
        // ms-python: a marker line, then the answer
        (
            "f0a1-guid\n{\"version\": \"3\", \"sys_prefix\": \"/app/.venv\", \"executable\": \"/app/.venv/bin/python\", \"is64_bit\": true}\n",
            "f0a1-guid\n{\"version\": \"3\", \"sys_prefix\": \"/home/ada/ws/.venv\", \"executable\": \"/home/ada/ws/.venv/bin/python\", \"is64_bit\": true}\n",
        ),
        // no newline at the end; a document over several lines
        ("[\"/app/x.py\"]", "[\"/home/ada/ws/x.py\"]"),
        (
            "{\n  \"a\": [\n    \"/app\",\n    \"/opt/eggs/x.egg\"\n  ]\n}\n",
            "{\n  \"a\": [\n    \"/home/ada/ws\"\n  ]\n}\n",
        ),
        // an unmapped root as a value keeps its type and exists nowhere
        (
            "{\"stdlib\":\"/usr/local/lib/python3.9\",\"n\":1.50,\"n2\":1e400}\n",
            "{\"stdlib\":\"/usr/local/lib/python3.9\",\"n\":1.50,\"n2\":1e400}\n",
        ),
        (
            "{\"stdlib\":\"/usr/local/lib/python3.9\",\"n\":1.50}\n",
            "{\"stdlib\":\"/home/ada/ws/.venv/not-mirrored/usr/local/lib/python3.9\",\"n\":1.50}\n",
        ),
        ("[\"/opt/eggs\", \"/opt/eggs/y\"]\n", "[]\n"),
        ("[\"/opt/eggs\", 1, \"/opt/eggs/y\", 2]\n", "[ 1, 2]\n"),
        // Pyrefly: editable installs as URLs
        (
            "[{\"url\": \"file:///app/a%20b\", \"dir_info\": {\"editable\": true}}, {\"url\": \"file:///x\"}, {\"url\": \"file://%ff%\"}]\n",
            "[{\"url\": \"file:///home/ada/ws/a%20b\", \"dir_info\": {\"editable\": true}}, {\"url\": \"file:///x\"}, {\"url\": \"file://%ff%\"}]\n",
        ),
        // no JSON, or no paths
        ("/app/x.py\n", "/app/x.py\n"),
        ("['/app/x.py']\n", "['/app/x.py']\n"),
        ("[INFO] /app {\n", "[INFO] /app {\n"),
        ("{\"a\" :  \"see /app/x\", \"/app\": null}\n", "{\"a\" :  \"see /app/x\", \"/app\": null}\n"),
        ("\n\n  \n", "\n\n  \n"),
        ("{\"unfinished\": \n", "{\"unfinished\": \n"),
        ("\"/app/\\u0061\"\n", "\"/home/ada/ws/a\"\n"),
    ] {
        for step in [1, 7, 4096] {
            let got = filtered(inside.as_bytes(), step);
            assert_eq!(String::from_utf8_lossy(&got), outside, "in steps of {step}");
        }
    }
}

/// A container puts programs into the workspace and says that they are the interpreter.
#[test]
fn nothing_but_the_shim_is_named_as_something_to_run() {
    let shim = "/home/ada/ws/.venv/bin/python";
    let env = "/home/ada/ws/.venv";
    for (inside, outside) in [
        (r#"{"executable": "/app/evil"}"#, format!(r#"{{"executable": "{shim}"}}"#)),
        (r#"{"executable": "/app/.venv/../evil/python"}"#, format!(r#"{{"executable": "{shim}"}}"#)),
        (r#"{"executable": "/app/.venv/lib/python3"}"#, format!(r#"{{"executable": "{shim}"}}"#)),
        (r#"{"executable": " /app/evil\n"}"#, format!(r#"{{"executable": "{shim}"}}"#)),
        (r#"{"executable": "./evil"}"#, format!(r#"{{"executable": "{shim}"}}"#)),
        (r#"{"executable": "/home/ada/ws/evil"}"#, format!(r#"{{"executable": "{shim}"}}"#)),
        (r#"{"sys_executable": "file:///app/evil"}"#, format!(r#"{{"sys_executable": "{shim}"}}"#)),
        (
            r#"{"\u0065xecutable": ["/app/evil", "/usr/bin/python3"]}"#,
            format!(r#"{{"\u0065xecutable": ["{shim}", "{shim}"]}}"#),
        ),
        (
            r#"{"interpreter": {"path": "/app/evil", "site": ["/app/x"]}}"#,
            format!(r#"{{"interpreter": {{"path": "{shim}", "site": ["/home/ada/ws/x"]}}}}"#),
        ),
        (r#"{"pythonPath": "/app/x"}"#, format!(r#"{{"pythonPath": "{shim}"}}"#)),
        (r#"{"sysPrefix": "/app/evil"}"#, format!(r#"{{"sysPrefix": "{env}"}}"#)),
        (r#"{"base_prefix": "/app"}"#, format!(r#"{{"base_prefix": "{env}"}}"#)),
        (r#"{"scripts": "/app/evil/bin"}"#, format!(r#"{{"scripts": "{env}/bin"}}"#)),
        (r#"["/app/evil/bin/python3.11"]"#, format!(r#"["{shim}"]"#)),
        // and what tools need stays
        (r#"{"executable": "/app/.venv/bin/python3"}"#, format!(r#"{{"executable": "{env}/bin/python3"}}"#)),
        (
            r#"{"prefix": "/app/.venv", "base_prefix": "/usr"}"#,
            format!(r#"{{"prefix": "{env}", "base_prefix": "/usr"}}"#),
        ),
        (
            r#"{"PYTHONPATH": "/app/x", "python": "3.11.2"}"#,
            r#"{"PYTHONPATH": "/home/ada/ws/x", "python": "3.11.2"}"#.to_owned(),
        ),
        (
            r#"["/usr/lib/python3.11", "/app/lib/python3.11"]"#,
            r#"["/cache/m/usr/lib/python3.11", "/home/ada/ws/lib/python3.11"]"#.to_owned(),
        ),
    ] {
        assert_eq!(String::from_utf8_lossy(&filtered(inside.as_bytes(), 5)), outside, "{inside}");
    }
}

/// A tool that asks for a program runs what it is told, here: a container must not name one that it can write.
#[test]
fn where_a_program_is_asked_for_only_those_of_the_host_env_are_named() {
    let temp = tempfile::tempdir().expect("a folder");
    let mut place = test_place();
    place.env.workspace = HostPath::new(temp.path()).expect("absolute");
    place.env.path = place.env.workspace.join(".venv");
    place.env.scripts = [("ty".to_owned(), ContainerPath::new("/usr/local/bin/ty").expect("absolute"))].into();
    place.env.map = PathMap::default();
    place.env.map.push(place.env.workspace.clone(), ContainerPath::new("/app").expect("absolute"));
    let bin = temp.path().join(".venv/bin");
    std::fs::create_dir_all(&bin).expect("made");
    for name in ["ruff", "ty"] {
        std::fs::write(bin.join(name), "").expect("written");
    }
    let elsewhere = temp.path().join("evil");
    std::fs::write(&elsewhere, "").expect("written");
    std::os::unix::fs::symlink(&elsewhere, bin.join("link")).expect("linked");
    let bin = bin.display();
    let given = |line: &str| line.replace("HOST", &temp.path().display().to_string());
    for (inside, asked, otherwise) in [
        ("/app/.venv/bin/ruff\n", format!("{bin}/ruff\n"), None),
        ("HOST/.venv/bin/ruff\r\n", format!("{bin}/ruff\r\n"), None),
        ("/usr/local/bin/ty", format!("{bin}/ty"), None),
        // the host env has none of these
        ("/app/.venv/bin/black\n", "\n".to_owned(), Some("/app/.venv/bin/black\n")),
        ("/app/.venv/bin/link\n", "\n".to_owned(), Some("/app/.venv/bin/link\n")),
        ("/app/.venv/bin/../../evil\n", "\n".to_owned(), Some("/app/.venv/bin/../../evil\n")),
        ("/app/evil\n", "\n".to_owned(), Some("/app/evil\n")),
        ("HOST/evil\n", "\n".to_owned(), Some("HOST/evil\n")),
        ("HOST/.venv/bin/../../evil\n", "\n".to_owned(), Some("HOST/.venv/bin/../../evil\n")),
        ("/usr/bin/ruff\n", "\n".to_owned(), Some("/usr/bin/ruff\n")),
        (" ./evil\n", "\n".to_owned(), Some(" ./evil\n")),
        ("\"HOST/evil\"\n", "\n".to_owned(), Some("\"HOST/evil\"\n")),
        ("a\n/app/.venv/bin/ruff\n\n", format!("\n{bin}/ruff\n\n"), Some("a\nBIN/ruff\n\n")),
    ] {
        let text = given(inside);
        for step in [1, 1000] {
            let found = passed(filter(place.clone(), true), text.as_bytes(), step);
            assert_eq!(String::from_utf8_lossy(&found), asked, "{inside}");
            let found = passed(filter(place.clone(), false), text.as_bytes(), step);
            let wanted = otherwise.map_or(asked.clone(), |text| given(text).replace("BIN", &bin.to_string()));
            assert_eq!(String::from_utf8_lossy(&found), wanted, "{inside}");
        }
    }
    // What is no UTF-8 is read as other letters, which can be those of a file.
    let odd = [given("HOST/evil").as_bytes(), b"\xff\n"].concat();
    for step in [1, 1000] {
        assert_eq!(passed(filter(place.clone(), true), &odd, step), b"\n");
        assert_eq!(passed(filter(place.clone(), true), &odd[..odd.len() - 1], step), b"\n");
    }
    let long = "/".repeat(MOST + 1);
    assert!(passed(filter(place, true), long.as_bytes(), MOST + 1).is_empty());
}

#[test]
fn more_than_a_megabyte_is_no_answer() {
    let mut text = b"[\"/app/x\",\n".to_vec();
    text.extend(std::iter::repeat_n(b' ', MOST));
    text.extend(b"\"/app\"]\n");
    assert_eq!(filtered(&text, 65536), text);
}

#[test]
fn bytes_that_are_no_json_are_not_held_back() {
    let mut filter = filter(test_place(), false);
    assert_eq!(filter.push(b"\x80\x04pickle"), b"\x80\x04pickle");
    assert_eq!(filter.push(b"Content-Length: 2\r\n"), b"Content-Length: 2\r\n");
}

proptest::proptest! {
    #[test]
    fn other_bytes_pass_unchanged(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..3000), step in 1_usize..500) {
        // Random bytes hold no JSON string that is a known path.
        proptest::prop_assert_eq!(filtered(&bytes, step), bytes);
    }

    #[test]
    fn json_stays_json(text in "[\\[\\]{}\",:/ap.venv0-9 \n\\\\]{0,60}") {
        let out = filtered(text.as_bytes(), 3);
        if serde_json::from_str::<serde_json::Value>(&text).is_ok() {
            proptest::prop_assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
        }
    }
}
