//! How text is shown: an argument so that it can be pasted into a shell (nothing here runs one), and what a stranger
//! wrote so that it cannot steer whoever reads it.

use std::fmt::Write as _;

/// One argument, quoted for a POSIX shell where it has to be.
pub fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    if text.chars().any(char::is_control) {
        // Only this quoting shows a newline without being one.
        let mut escaped = String::new();
        for c in text.chars() {
            match c {
                '\'' => escaped.push_str("\\'"),
                '\\' => escaped.push_str("\\\\"),
                c if c.is_control() => {
                    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                        let _ = write!(escaped, "\\x{byte:02x}");
                    }
                }
                c => escaped.push(c),
            }
        }
        return format!("$'{escaped}'");
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A whole command. Its first words, each of its options, and what follows those have a line of their own, so that a
/// person can read it; an option holds its value.
pub fn command_line(argv: &[String]) -> String {
    let option = |argument: &&String| argument.starts_with("--");
    let first = argv.iter().take_while(|argument| !option(argument)).count();
    let options = argv[first..].iter().take_while(option).count();
    let (options, rest) = argv[first..].split_at(options);
    let words = |words: &[String]| words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    let mut lines = vec![words(&argv[..first])];
    lines.extend(options.iter().map(|option| quoted(option)));
    if !rest.is_empty() {
        lines.push(words(rest));
    }
    lines.join(" \\\n  ")
}

/// What a stranger wrote, made harmless for whoever shows it: no escape sequence, no carriage return, nothing that turns
/// the direction of writing around and so shows another text than is meant.
pub fn plain(text: &str) -> String {
    let harmful = |c: char| c.is_control() && !matches!(c, '\n' | '\t') || is_direction(c);
    text.chars().map(|c| if harmful(c) { '\u{fffd}' } else { c }).collect()
}

/// As [`plain`], and on one line.
pub fn printable(text: &str) -> String {
    plain(&text.replace('\t', " ")).replace('\n', "\u{fffd}")
}

fn is_direction(c: char) -> bool {
    // And those that end a line where nobody expects it.
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_read_otherwise_is_quoted() {
        for (given, want) in [
            ("--env", "--env"),
            ("A=b", "A=b"),
            ("", "''"),
            ("a b", "'a b'"),
            ("$(x)`y`;*", "'$(x)`y`;*'"),
            ("it's", "'it'\\''s'"),
            ("a\nb'\\", "$'a\\x0ab\\'\\\\'"),
            ("~/x", "'~/x'"),
        ] {
            assert_eq!(quoted(given), want);
        }
        let argv = ["docker", "run", "--rm", "--env=A=b c", "image", "sh", "--x"].map(str::to_owned);
        assert_eq!(command_line(&argv), "docker run \\\n  --rm \\\n  '--env=A=b c' \\\n  image sh --x");
    }

    #[test]
    fn what_a_stranger_wrote_shows_what_it_is() {
        assert_eq!(printable("a\x1b[31mred\nb\tc\u{202e}d"), "a\u{fffd}[31mred\u{fffd}b c\u{fffd}d");
        assert_eq!(plain("a\r\nb\tc\u{2066}"), "a\u{fffd}\nb\tc\u{fffd}");
    }
}
