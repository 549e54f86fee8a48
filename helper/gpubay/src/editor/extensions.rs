//! `.vscode/extensions.json`: the extensions that a workspace recommends. A stranger may have written it.

use serde::Deserialize;
use serde_json::Value;

/// More than anybody reads.
const MOST: usize = 100;

#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    recommendations: Vec<Value>,
}

/// Their ids; what is none is left out, and nothing at all is read of a file that is no JSON with comments.
pub fn recommended(text: &str) -> Vec<String> {
    let file: File = serde_json::from_str(&without_comments(text)).unwrap_or_default();
    let ids = file.recommendations.iter().filter_map(Value::as_str).filter(|id| is_id(id));
    ids.take(MOST).map(str::to_owned).collect()
}

/// `publisher.name`
fn is_id(text: &str) -> bool {
    let plain = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    text.len() <= 200 && text.split_once('.').is_some_and(|(publisher, name)| plain(publisher) && plain(name))
}

/// The editor's own files may have comments, and a comma after the last entry.
fn without_comments(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let piece = if c == '"' {
            string(rest)
        } else if rest.starts_with("//") {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
            continue;
        } else if rest.starts_with("/*") {
            rest = rest[2..].find("*/").map_or("", |end| &rest[end + 4..]);
            continue;
        } else {
            if matches!(c, ']' | '}') {
                let kept = plain.trim_end().len();
                if plain[..kept].ends_with(',') {
                    plain.truncate(kept - 1);
                }
            }
            c.len_utf8()
        };
        plain.push_str(&rest[..piece]);
        rest = &rest[piece..];
    }
    plain
}

/// How long the string is that `text` begins with, with both of its quotes.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            _ => escaped = c == '\\' && !escaped,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_from_json_with_comments() {
        let text = "{\n  // ours, \"x\"\n  \"recommendations\": [\n    \"ms-python.python\", /* a ] */ \"a.b//c\",\n    \
                    \"charliermarsh.ruff\",\n  ],\n}\n";
        assert_eq!(recommended(text), ["ms-python.python", "charliermarsh.ruff"]);
        assert_eq!(recommended("{\"recommendations\": [\"a.b\\\" , ]\", 3, \"x.y\"]}"), ["x.y"]);
    }

    #[test]
    fn nonsense_recommends_nothing() {
        for text in
            ["", "{", "[]", "/*", "\"", "{\"recommendations\": 3}", "{\"recommendations\": [\"--install\", \"a\"]}"]
        {
            assert_eq!(recommended(text), Vec::<String>::new(), "{text:?}");
        }
        let many = format!("{{\"recommendations\": [{}\"a.b\"]}}", "\"c.d\",".repeat(500));
        assert_eq!(recommended(&many).len(), MOST);
    }
}
