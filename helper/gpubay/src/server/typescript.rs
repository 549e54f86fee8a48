//! `extension/src/protocol.ts` and `docs/protocol.md`, generated from the types that go over the wire.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use ts_rs::{Config, TS, TypeVisitor};

use super::method::{Kind, Method};
use super::methods::every_method;
use super::outgoing::every_notification;
use super::wire::{
    Capabilities, Failure, FolderState, GpusParams, LogLinesParams, LogParams, Options, PROTOCOL, PackagesParams,
    TRUST, TrustParams,
};

/// Everything that is declared, by name.
#[derive(Default)]
struct Declared(BTreeMap<String, (TypeId, String)>);

impl Declared {
    fn add<T: TS + 'static + ?Sized>(&mut self) {
        let config = config();
        let name = T::name(&config);
        // Only what has a declaration of its own, not `string` or `Array<…>`.
        if T::output_path().is_none() {
            T::visit_dependencies(self);
            T::visit_generics(self);
            return;
        }
        let id = TypeId::of::<T>();
        if let Some((known, _)) = self.0.get(&name) {
            assert_eq!(*known, id, "two types are called {name}");
            return;
        }
        let docs = T::docs().map(|docs| docs.trim_end().to_owned() + "\n").unwrap_or_default();
        self.0.insert(name, (id, format!("{docs}export {}\n", T::decl(&config))));
        T::visit_dependencies(self);
    }
}

impl TypeVisitor for Declared {
    fn visit<T: TS + 'static + ?Sized>(&mut self) {
        self.add::<T>();
    }
}

/// Numbers are small enough for JavaScript's: bytes of a disk, milliseconds.
fn config() -> Config {
    Config::new().with_large_int("number")
}

struct Line {
    method: &'static str,
    works: bool,
    params: String,
    answer: String,
    about: String,
}

fn line<M: Method>(declared: &mut Declared) -> Line
where
    M::Params: TS + 'static,
    M::Answer: TS + 'static,
{
    declared.add::<M::Params>();
    declared.add::<M::Answer>();
    let config = config();
    Line {
        method: M::NAME,
        works: M::KIND == Kind::Works,
        params: M::Params::name(&config),
        answer: if TypeId::of::<M::Answer>() == TypeId::of::<()>() {
            "null".to_owned()
        } else {
            M::Answer::name(&config)
        },
        about: about(M::NAME),
    }
}

/// What the method's file says of it.
fn about(method: &str) -> String {
    let mut file = String::new();
    for letter in method.trim_start_matches("gpubay/").chars() {
        if letter.is_ascii_uppercase() {
            file.push('_');
        }
        file.push(letter.to_ascii_lowercase());
    }
    let path = format!("{}/src/server/methods/{file}.rs", env!("CARGO_MANIFEST_DIR"));
    let source = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let head: Vec<&str> = source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
    head.join(" ").split_once("`: ").expect("`gpubay/method`: what it does").1.to_owned()
}

struct Told {
    method: &'static str,
    params: String,
    about: &'static str,
    to_editor: bool,
}

fn told(declared: &mut Declared) -> Vec<Told> {
    let mut all = Vec::new();
    macro_rules! add {
        ($($type:ident, $method:literal, $params:ty, $about:literal;)*) => {
            $(
                declared.add::<$params>();
                all.push(Told { method: $method, params: <$params>::name(&config()), about: $about, to_editor: true });
            )*
        };
    }
    every_notification!(add);
    declared.add::<TrustParams>();
    let about = "The user trusts the workspace, or does no longer.";
    all.push(Told { method: TRUST, params: TrustParams::name(&config()), about, to_editor: false });
    all
}

fn generate() -> (String, String) {
    let mut declared = Declared::default();
    declared.add::<Options>();
    declared.add::<Capabilities>();
    declared.add::<Failure>();
    let notifications = told(&mut declared);
    let mut lines = Vec::new();
    macro_rules! all {
        ($($method:ty),*) => { $(lines.push(line::<$method>(&mut declared));)* };
    }
    every_method!(all);

    let mut ts = String::from(
        "// Generated from the Rust types by `UPDATE_PROTOCOL=1 cargo test -p gpubay protocol`; do not edit.\n\n",
    );
    let _ = writeln!(
        ts,
        "/** Raised with every change that an older peer would misread. */\nexport const PROTOCOL = {PROTOCOL};\n"
    );
    for (_, text) in declared.0.values() {
        let _ = writeln!(ts, "{text}");
    }
    ts.push_str("/** Requests of an editor: parameters and answers by method. */\nexport interface Requests {\n");
    for Line { method, params, answer, about, .. } in &lines {
        let _ = writeln!(ts, "  /** {about} */\n  \"{method}\": {{ params: {params}; answer: {answer} }};");
    }
    ts.push_str("}\n\n/** Notifications, by method. */\nexport interface Notifications {\n");
    for Told { method, params, about, .. } in &notifications {
        let _ = writeln!(ts, "  /** {about} */\n  \"{method}\": {params};");
    }
    ts.push_str("}\n");

    let mut md = String::from(include_str!("protocol_head.md"));
    md.push_str("\n## Requests\n\n| method | parameters | answer | what it does |\n|---|---|---|---|\n");
    for Line { method, works, params, answer, about } in &lines {
        let works = if *works { " (work)" } else { "" };
        let _ = writeln!(md, "| `{method}`{works} | `{params}` | `{answer}` | {about} |");
    }
    md.push_str("\n## Notifications\n\n| method | direction | parameters | what for |\n|---|---|---|---|\n");
    for Told { method, params, about, to_editor } in &notifications {
        let direction = if *to_editor { "helper to editor" } else { "editor to helper" };
        let _ = writeln!(md, "| `{method}` | {direction} | `{params}` | {about} |");
    }
    (ts, md)
}

#[test]
fn the_checked_in_protocol_is_fresh() {
    let (ts, md) = generate();
    for (path, fresh) in [("extension/src/protocol.ts", ts), ("docs/protocol.md", md)] {
        let path = format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE_PROTOCOL").is_some() {
            std::fs::write(&path, &fresh).expect("written");
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == fresh, "{path} is stale; run this test with UPDATE_PROTOCOL=1");
    }
}
