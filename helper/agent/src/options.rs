//! The command line, which only our own helper writes.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use gpubay_protocol::agent::SOCKET_PATH;

use crate::mounts::Seen;

pub(crate) enum Role {
    Init(Options),
    Job(Options, Vec<OsString>),
    Stdio(Options),
    PrintEnv(i32),
    Version,
}

pub(crate) struct Options {
    /// Empty: there is none to run.
    pub(crate) entrypoint: Vec<OsString>,
    pub(crate) entrypoint_timeout: Duration,
    pub(crate) socket: PathBuf,
    /// What must be mounted before anything runs.
    pub(crate) seen: Vec<Seen>,
}

pub(crate) fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Role, String> {
    let role = args.next().ok_or("a role is missing: init, job, stdio or print-env")?;
    match role.to_str() {
        Some("print-env") => {
            let fd = args.next().and_then(|fd| fd.to_str()?.parse().ok());
            return fd.map(Role::PrintEnv).ok_or_else(|| "print-env needs a file descriptor".into());
        }
        Some("--version") => return Ok(Role::Version),
        _ => {}
    }
    let mut options = Options {
        entrypoint: Vec::new(),
        entrypoint_timeout: Duration::from_secs(10),
        socket: PathBuf::from(SOCKET_PATH),
        seen: Vec::new(),
    };
    let mut command = Vec::new();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{} needs a value", arg.display()));
        match arg.to_str() {
            Some("--entrypoint-json") => options.entrypoint = json_strings(&value()?.to_string_lossy())?,
            Some("--no-entrypoint") => options.entrypoint.clear(),
            Some("--entrypoint-timeout-ms") => {
                let text = value()?;
                let ms = text.to_str().and_then(|t| t.parse().ok());
                options.entrypoint_timeout = Duration::from_millis(ms.ok_or("the timeout is no number")?);
            }
            Some("--mount-is") => {
                let text = value()?;
                let seen = text.to_str().and_then(Seen::parse);
                options.seen.push(seen.ok_or_else(|| format!("{} is no mount", text.display()))?);
            }
            Some("--socket") => options.socket = value()?.into(),
            Some("--") => command = args.by_ref().collect(),
            _ => return Err(format!("unknown option {}", arg.display())),
        }
    }
    match role.to_str() {
        Some("init") => Ok(Role::Init(options)),
        Some("stdio") => Ok(Role::Stdio(options)),
        Some("job") if command.is_empty() => Err("job needs a command after --".into()),
        Some("job") => Ok(Role::Job(options, command)),
        _ => Err(format!("unknown role {}", role.display())),
    }
}

/// A JSON array of strings, as an image's configuration has its ENTRYPOINT. A whole JSON library
/// for this one line would double the program.
fn json_strings(text: &str) -> Result<Vec<OsString>, String> {
    let bad = || format!("{text:?} is no JSON array of strings");
    let mut rest = text.trim().strip_prefix('[').ok_or_else(bad)?.trim_start();
    let mut strings = Vec::new();
    if let Some(end) = rest.strip_prefix(']') {
        return if end.trim().is_empty() { Ok(strings) } else { Err(bad()) };
    }
    loop {
        let (string, after) = json_string(rest.strip_prefix('"').ok_or_else(bad)?).ok_or_else(bad)?;
        strings.push(OsString::from_vec(string.into_bytes()));
        rest = after.trim_start();
        if let Some(next) = rest.strip_prefix(',') {
            rest = next.trim_start();
        } else {
            let end = rest.strip_prefix(']').ok_or_else(bad)?;
            return if end.trim().is_empty() { Ok(strings) } else { Err(bad()) };
        }
    }
}

/// The string that begins after its opening quote, and what follows its closing one.
fn json_string(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    let hex = |at: usize| u32::from_str_radix(text.get(at..at + 4)?, 16).ok();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'b' => out.push('\u{8}'),
                'f' => out.push('\u{c}'),
                'n' => out.push('\n'),
                'r' => out.push('\r'),
                't' => out.push('\t'),
                'u' => {
                    let mut code = hex(at + 2)?;
                    chars.nth(3)?;
                    if (0xd800..0xdc00).contains(&code) {
                        text.get(at + 6..)?.strip_prefix("\\u")?;
                        let low = hex(at + 8)?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
                        code = 0x10000 + ((code - 0xd800) << 10) + low;
                        chars.nth(5)?;
                    }
                    out.push(char::from_u32(code)?);
                }
                c @ ('"' | '\\' | '/') => out.push(c),
                _ => return None,
            },
            c if (c as u32) < 0x20 => return None,
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_arrays_of_strings() {
        let ok = |text: &str| {
            let strings = json_strings(text).expect(text);
            strings.into_iter().map(|s| s.into_string().expect("text")).collect::<Vec<_>>()
        };
        assert_eq!(ok("[]"), Vec::<String>::new());
        assert_eq!(
            ok(r#" [ "/bin/sh" , "-c", "a \"b\" \\ \n\u00e9\ud83d\ude00é" ] "#).last().expect("three"),
            "a \"b\" \\ \n\u{e9}\u{1f600}é"
        );
        for bad in
            ["", "[", "{}", r#"["a""#, r#"["a" "b"]"#, r#"["a",]"#, r#"["\x"]"#, r#"["\ud83d"]"#, r"[1]", r#"["a"]x"#]
        {
            assert!(json_strings(bad).is_err(), "{bad}");
        }
    }
}
