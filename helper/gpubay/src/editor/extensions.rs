//! `.vscode/extensions.json`: the extensions that a workspace recommends. A stranger may have written it.

use serde::Deserialize;
use serde_json::Value;

/// A longer file is nobody's list of extensions.
const LONGEST: usize = 256 * 1024;

/// More than anybody reads.
const MOST: usize = 100;

#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    recommendations: Vec<Value>,
}

/// Their ids; what is none is left out, and nothing at all is read of a file that is no JSON with comments.
pub fn recommended(text: &str) -> Vec<String> {
    let file: File = match text.len() {
        0..=LONGEST => {
            jsonc_parser::parse_to_serde_value(text, &jsonc_parser::ParseOptions::default()).unwrap_or_default()
        }
        _ => File::default(),
    };
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
        assert_eq!(recommended(&"[".repeat(LONGEST)), Vec::<String>::new());
        let many = format!("{{\"recommendations\": [{}\"a.b\"]}}", "\"c.d\",".repeat(500));
        assert_eq!(recommended(&many).len(), MOST);
    }
}
