//! Which paths of a build context a list of patterns selects, by the rules of `.dockerignore`.
//!
//! The rules are those of the engine's own tools and unlike `.gitignore`: patterns are anchored at
//! the context's root, `**` crosses folders, the last match wins, and a match on a folder counts
//! for everything below it.

use thiserror::Error;

/// A pattern that cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the ignore pattern {0:?} is malformed")]
pub struct BadPattern(pub String);

/// An ordered list of patterns.
#[derive(Clone, Debug)]
pub struct Matcher {
    patterns: Vec<Pattern>,
}

/// One pattern of a [`Matcher`].
#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    exception: bool,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Exact,
    Prefix(String),
    Suffix(String),
    Glob(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    One(char),
    /// `?`: any character but a slash.
    Any,
    /// `*`: any run without a slash.
    Star,
    /// `**/`: nothing, or any run that ends in a slash.
    Folders,
    /// A closing `**`.
    Rest,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// A caret outside brackets: only the beginning satisfies it.
    Beginning,
}

/// Which patterns a folder matched, for the entries below it.
#[derive(Clone, Debug, Default)]
pub struct MatchInfo(Vec<bool>);

impl Matcher {
    /// # Errors
    /// [`BadPattern`] for the first one that cannot be read.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, BadPattern> {
        let patterns = patterns
            .iter()
            .map(|text| text.as_ref().trim())
            .filter(|text| !text.is_empty())
            .map(Pattern::new)
            .collect::<Result<_, _>>()?;
        Ok(Self { patterns })
    }

    pub fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.exception)
    }

    /// Whether `path` itself or a folder above it is selected.
    pub fn matches(&self, path: &str) -> bool {
        self.matches_below(path, &MatchInfo::default()).0
    }

    /// As [`Matcher::matches`], with what is known of the folder that holds `path`; and the same
    /// knowledge of `path`.
    pub fn matches_below(&self, path: &str, parent: &MatchInfo) -> (bool, MatchInfo) {
        let mut matched = false;
        let mut info = MatchInfo(vec![false; self.patterns.len()]);
        for (index, pattern) in self.patterns.iter().enumerate() {
            let mut hit = parent.0.get(index).copied().unwrap_or(false);
            if !hit {
                if pattern.exception != matched {
                    continue;
                }
                hit = pattern.matches(path) || (parent.0.is_empty() && ancestors(path).any(|dir| pattern.matches(dir)));
            }
            info.0[index] = hit;
            if hit {
                matched = !pattern.exception;
            }
        }
        (matched, info)
    }

    /// Whether every selecting pattern (`exceptions` false) or every exception is a plain path,
    /// up to one closing `*` or `**`, so that it can be compared with a folder's name.
    fn plain(&self, exceptions: bool) -> bool {
        self.patterns
            .iter()
            .filter(|pattern| pattern.exception == exceptions)
            .all(|pattern| !pattern.stem().contains(['*', '[', ']', '?', '^', '\\']))
    }

    /// Whether something below the unselected folder `dir` could still be selected.
    pub fn may_select_below(&self, dir: &str) -> bool {
        self.reaches_below(dir, false)
    }

    /// Whether something below the selected folder `dir` could be excepted again.
    pub fn may_except_below(&self, dir: &str) -> bool {
        self.has_exceptions() && self.reaches_below(dir, true)
    }

    fn reaches_below(&self, dir: &str, exceptions: bool) -> bool {
        if !self.plain(exceptions) {
            return true;
        }
        let dir = format!("{dir}/");
        self.patterns
            .iter()
            .filter(|pattern| pattern.exception == exceptions)
            .any(|pattern| format!("{}/", pattern.stem()).starts_with(&dir))
    }
}

impl Pattern {
    fn new(text: &str) -> Result<Self, BadPattern> {
        let bad = || BadPattern(text.to_owned());
        let mut cleaned = clean(text);
        let exception = cleaned.starts_with('!');
        if exception {
            cleaned.remove(0);
            if cleaned.is_empty() {
                return Err(bad());
            }
        }
        let kind = compile(&cleaned).ok_or_else(bad)?;
        Ok(Self { text: cleaned, exception, kind })
    }

    fn stem(&self) -> &str {
        let text = self.text.strip_suffix("/**").unwrap_or(&self.text);
        text.strip_suffix("/*").unwrap_or(text)
    }

    fn matches(&self, path: &str) -> bool {
        match &self.kind {
            Kind::Exact => path == self.text,
            Kind::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Kind::Suffix(suffix) => {
                path.ends_with(suffix.as_str()) || suffix.strip_prefix('/').is_some_and(|name| name == path)
            }
            Kind::Glob(tokens) => glob(tokens, path),
        }
    }
}

/// The folders above `path`, outermost first.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

/// Reads a pattern; `None` when its brackets or escapes are malformed.
fn compile(pattern: &str) -> Option<Kind> {
    let mut tokens = Vec::new();
    let mut kind = Kind::Exact;
    let mut chars = pattern.chars().peekable();
    let mut first = true;
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.peek() == Some(&'*') => {
                chars.next();
                if chars.peek() == Some(&'/') {
                    chars.next();
                }
                if chars.peek().is_none() {
                    tokens.push(Token::Rest);
                    kind = match kind {
                        Kind::Exact => Kind::Prefix(pattern.strip_suffix("**").unwrap_or(pattern).to_owned()),
                        _ => Kind::Glob(Vec::new()),
                    };
                } else {
                    tokens.push(Token::Folders);
                    kind = Kind::Glob(Vec::new());
                }
                if first {
                    kind = Kind::Suffix(pattern[2..].to_owned());
                }
            }
            '*' => {
                tokens.push(Token::Star);
                kind = Kind::Glob(Vec::new());
            }
            '?' => {
                tokens.push(Token::Any);
                kind = Kind::Glob(Vec::new());
            }
            '\\' => {
                // A letter after the backslash would mean something else to the engine's tool.
                tokens.push(match chars.next()? {
                    'd' => Token::Class { negated: false, ranges: vec![('0', '9')] },
                    'w' => {
                        Token::Class { negated: false, ranges: vec![('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')] }
                    }
                    c if c.is_ascii_alphanumeric() => return None,
                    c => Token::One(c),
                });
                kind = Kind::Glob(Vec::new());
            }
            '[' => {
                tokens.push(class(&mut chars)?);
                kind = Kind::Glob(Vec::new());
            }
            ']' => {
                tokens.push(Token::One(']'));
                kind = Kind::Glob(Vec::new());
            }
            '^' => tokens.push(Token::Beginning),
            c => tokens.push(Token::One(c)),
        }
        first = false;
    }
    Some(match kind {
        Kind::Glob(_) => Kind::Glob(tokens),
        other => other,
    })
}

/// Reads a bracket expression behind its `[`.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Token> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    let one = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| match chars.next()? {
        '\\' => chars.next(),
        '-' => None,
        c => Some(c),
    };
    loop {
        if chars.peek() == Some(&']') && !ranges.is_empty() {
            chars.next();
            return Some(Token::Class { negated, ranges });
        }
        if chars.peek() == Some(&']') {
            return None;
        }
        let low = one(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { one(chars)? } else { low };
        ranges.push((low, high));
    }
}

/// Steps the set of positions reached through the tokens, so that no pattern takes more than
/// (tokens x characters) steps.
fn glob(tokens: &[Token], path: &str) -> bool {
    let chars: Vec<char> = path.chars().collect();
    let mut at = vec![false; chars.len() + 1];
    at[0] = true;
    for token in tokens {
        let mut next = vec![false; chars.len() + 1];
        match token {
            Token::One(_) | Token::Any | Token::Class { .. } => {
                for (index, c) in chars.iter().enumerate() {
                    next[index + 1] = at[index] && token.takes(*c);
                }
            }
            Token::Star | Token::Rest => {
                let mut running = false;
                for index in 0..=chars.len() {
                    let broken = index > 0
                        && match token {
                            Token::Star => chars[index - 1] == '/',
                            _ => chars[index - 1] == '\n',
                        };
                    running = (running && !broken) || at[index];
                    next[index] = running;
                }
            }
            Token::Folders => {
                let mut running = false;
                for index in 0..=chars.len() {
                    let behind_slash = running && index > 0 && chars[index - 1] == '/';
                    next[index] = at[index] || behind_slash;
                    running = (running && !(index > 0 && chars[index - 1] == '\n')) || at[index];
                }
            }
            Token::Beginning => next[0] = at[0],
        }
        at = next;
    }
    at[chars.len()]
}

impl Token {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::One(own) => *own == c,
            Self::Any => c != '/',
            Self::Class { negated, ranges } => ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated,
            _ => false,
        }
    }
}

/// The shortest path that names the same without asking a file system: no `.`, `//` or inner `..`.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// In the root of a context.
pub const FILE: &str = ".dockerignore";

/// The patterns in the text of a `.dockerignore` file.
pub fn read_ignore_file(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)).into_owned();
    let mut patterns = Vec::new();
    for line in text.lines() {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let line = line.trim();
        let (mark, pattern) = match line.strip_prefix('!') {
            Some(rest) => ("!", rest.trim()),
            None => ("", line),
        };
        let mut pattern = if pattern.is_empty() { String::new() } else { clean(pattern) };
        if pattern.len() > 1 && pattern.starts_with('/') {
            pattern.remove(0);
        }
        patterns.push(format!("{mark}{pattern}"));
    }
    patterns
}

/// Whether one file name satisfies a shell pattern, as a wildcard in a `COPY` source does.
/// A malformed pattern matches nothing.
pub fn name_matches(pattern: &str, name: &str) -> bool {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Star,
            '?' => Token::Any,
            '\\' => match chars.next() {
                Some(c) => Token::One(c),
                None => return false,
            },
            '[' => match class(&mut chars) {
                Some(token) => token,
                None => return false,
            },
            c => Token::One(c),
        });
    }
    glob(&tokens, name)
}

/// Whether a name holds a wildcard that is not escaped.
pub fn has_wildcard(name: &str) -> bool {
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(patterns: &[&str], path: &str, want: bool) {
        let matcher = Matcher::new(patterns).expect("patterns");
        assert_eq!(matcher.matches(path), want, "{patterns:?} on {path:?}");
    }

    #[test]
    fn single_patterns() {
        for (pattern, path, want) in [
            ("**", "file", true),
            ("**", "dir/file", true),
            ("**/", "file", true),
            ("**/", "dir/file", true),
            ("**/**", "dir/file", true),
            ("dir/**", "dir/file", true),
            ("dir/**", "dir/a/b", true),
            ("dir/**", "dir", false),
            ("**/dir", "dir", true),
            ("**/dir", "a/b/dir", true),
            ("**/dir", "a/b/dir/file", true),
            ("**/dir2/*", "dir/dir2/file", true),
            ("**/dir2/*", "dir/dir2/dir2/file", true),
            ("**/dir2/**", "dir/dir2/dir2/file", true),
            ("**file", "file", true),
            ("**file", "dir/myfile", true),
            ("**file", "dir/file.txt", false),
            ("**/file*", "dir/file.txt", true),
            ("**/file*txt", "dir/dir/file.txt", true),
            ("**/file*.txt*", "dir/dir/file.txt", true),
            ("**/**/*.txt", "dir/dir/file.txt", true),
            ("**/**/*.txt2", "dir/dir/file.txt", false),
            ("**/*.txt", "file.txt", true),
            ("**/**/*.txt", "file.txt", true),
            ("a**/*.txt", "a/file.txt", true),
            ("a**/*.txt", "a/dir/file.txt", true),
            ("a/*.txt", "a/dir/file.txt", false),
            ("a/*.txt", "a/file.txt", true),
            ("a[b-d]e", "ae", false),
            ("a[b-d]e", "ace", true),
            ("a[b-d]e", "aae", false),
            ("a[^b-d]e", "aze", true),
            (".*", ".foo", true),
            (".*", "foo", false),
            ("abc.def", "abcdef", false),
            ("abc.def", "abc.def", true),
            ("abc?def", "abcZdef", true),
            ("abc?def", "abc/def", false),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("a$b|(c)+{1}", "a$b|(c)+{1}", true),
            ("**/foo/bar", "foo/bar", true),
            ("**/foo/bar", "dir/foo/bar", true),
            ("abc/**", "abc", false),
            ("abc/**", "abc/def/ghi", true),
            ("**/.foo", "bar.foo", false),
            ("a(b)c/def", "a(b)c/def", true),
            ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
            (
                "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
                "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
                true,
            ),
            ("dist/*.whl", "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl", true),
            ("a\\]b", "a]b", true),
            ("über/?", "über/ß", true),
            ("docs", "docs/README.md", true),
            ("docs/", "docs/README.md", true),
            ("./docs", "docs/a", true),
            ("docs", "docs2", false),
            ("*/README.md", "docs/README.md", true),
            ("*/README.md", "README.md", false),
        ] {
            check(&[pattern], path, want);
        }
    }

    #[test]
    fn the_last_match_wins() {
        for (patterns, path, want) in [
            (&["**", "!util/docker/web"][..], "util/docker/web/foo", false),
            (&["**", "!util/docker/web"], "util/docker/other", true),
            (&["util", "!util/docker"], "util/docker/x", false),
            (&["util/**", "!util/docker", "util/docker/x"], "util/docker/x", true),
            (&["!a", "a"], "a", true),
            (&["*.md", "!README.md"], "README.md", false),
            (&["*.md", "!README*.md", "README-secret.md"], "README-secret.md", true),
            (&["*", "!a/b"], "a/b/c", false),
            (&["*", "!a/b"], "a/d", true),
            (&["a", "!a/b/*"], "a/b/c", false),
        ] {
            check(patterns, path, want);
        }
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for bad in ["[", "[^", "[^bc", "a[", "a[]b", "[a-]", "a\\", "!", "[-x]"] {
            assert_eq!(Matcher::new(&[bad]).unwrap_err(), BadPattern(bad.to_owned()));
        }
    }

    #[test]
    fn folders_are_pruned_unless_an_exception_may_reach_below() {
        for (patterns, dir, want) in [
            (&["data"][..], "data", false),
            (&["data", "!data/keep"], "data", true),
            (&["data", "!data/keep/*"], "data/other", false),
            (&["data", "!data/keep/*"], "data/keep", true),
            (&["data", "!other"], "data", false),
            (&["data", "!**/keep"], "data", true),
        ] {
            let matcher = Matcher::new(patterns).expect("patterns");
            assert_eq!(matcher.may_except_below(dir), want, "{patterns:?} below {dir}");
        }
        let matcher = Matcher::new(&["a/b/c", "d/**"]).expect("patterns");
        assert!(matcher.may_select_below("a/b"));
        assert!(!matcher.may_select_below("a/x"));
        assert!(!matcher.may_select_below("e"));
    }

    #[test]
    fn ignore_files_are_read_line_by_line() {
        let text = b"\xef\xbb\xbf# comment\n\n  a/../b/ \n/rooted\n! /kept//x \n #not a comment\n/\n!\r\n";
        assert_eq!(read_ignore_file(text), ["b", "rooted", "!kept/x", "#not a comment", "/", "!"]);
    }

    #[test]
    fn names_and_wildcards() {
        assert!(name_matches("req*.t?t", "requirements.txt"));
        assert!(!name_matches("req*", "a"));
        assert!(!name_matches("[", "["));
        assert!(has_wildcard("a*") && !has_wildcard("a\\*"));
    }

    proptest! {
        #[test]
        fn nothing_a_file_holds_makes_it_panic(patterns in proptest::collection::vec("[a*?/!\\[\\]\\\\^é.-]{0,8}", 0..4), path in "[a/é\n]{0,12}") {
            if let Ok(matcher) = Matcher::new(&patterns) {
                let (whole, _) = matcher.matches_below(&path, &MatchInfo::default());
                prop_assert_eq!(whole, matcher.matches(&path));
            }
        }

        // With exceptions the two differ in odd cases, and the engine's own walk goes by the parent, as ours.
        #[test]
        fn knowing_the_parent_changes_nothing(patterns in proptest::collection::vec("(\\*\\*|a|b|\\*)(/(\\*\\*|a|b|\\*)){0,2}", 1..4), parts in proptest::collection::vec("[ab]", 1..4)) {
            let matcher = Matcher::new(&patterns).expect("patterns");
            let mut info = MatchInfo::default();
            let mut path = String::new();
            let mut last = false;
            for part in parts {
                if !path.is_empty() { path.push('/'); }
                path.push_str(&part);
                (last, info) = matcher.matches_below(&path, &info);
            }
            prop_assert_eq!(last, matcher.matches(&path), "{:?} on {}", patterns, path);
        }
    }
}
