//! Help with our own files: `gpubay.toml` is completed, explained and checked from the schema and from what there is;
//! a Dockerfile's base image that is past its life, or whose CUDA the driver does not run, is said on its line. Pure: texts in, help out.

mod dockerfile;
mod place;
mod schema;
mod values;

use std::path::{Path, PathBuf};

use tower_lsp::lsp_types::{
    CompletionItem, CompletionItemKind, CompletionItemLabelDetails, Diagnostic, DiagnosticSeverity, Documentation,
    Hover, HoverContents, MarkupContent, MarkupKind, NumberOrString, Position, Range,
};

use self::place::{At, Place};
use crate::config::{self, ConfigError, LoadRequest};
use crate::error::{Error, Explain};
use crate::gpu::Listed;
use crate::registry::life::Day;

pub(super) use self::dockerfile::Built;

/// What can stand in a value besides what the schema names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) gpus: Vec<KnownGpu>,
    /// There are no others.
    pub(super) all_gpus: bool,
    /// Names of those on the engine; `None` where it did not answer.
    pub(super) images: Option<Vec<String>>,
    /// Of the workspace, relative to it.
    pub(super) dockerfiles: Vec<String>,
    /// How the workspace's own Dockerfile is built.
    pub(super) own: Option<(PathBuf, Built)>,
    /// What any other would meet.
    pub(super) other: Built,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KnownGpu {
    pub(super) listed: Listed,
    /// What `[gpus] use` takes for it.
    pub(super) select: String,
    /// `GPU 3`, or the slice of one.
    pub(super) title: String,
    /// The model; empty where it is not known.
    pub(super) about: String,
}

/// A value that can stand at a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Offer {
    value: String,
    /// As it is listed.
    label: String,
    about: String,
    text: bool,
}

/// Which of our files it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Config,
    Dockerfile,
}

impl Kind {
    pub(super) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        if name == config::FILE_NAME {
            return Some(Self::Config);
        }
        let name = name.to_ascii_lowercase();
        let is_one =
            |word: &str| name == word || name.starts_with(&format!("{word}.")) || name.ends_with(&format!(".{word}"));
        (is_one("dockerfile") || is_one("containerfile")).then_some(Self::Dockerfile)
    }
}

pub(super) fn complete(text: &str, position: Position, facts: &Facts) -> Vec<CompletionItem> {
    let place = Place::of(text, position);
    let item = |label: &str, detail: Option<String>, insert: String, kind| CompletionItem {
        label: label.to_owned(),
        detail,
        insert_text: Some(insert),
        kind: Some(kind),
        ..CompletionItem::default()
    };
    match &place.at {
        At::Header => schema::tables()
            .into_iter()
            .map(|(name, about)| item(&name, Some(about), name.clone(), CompletionItemKind::MODULE))
            .collect(),
        At::Key => schema::keys(&place.table)
            .into_iter()
            .filter(|(name, _)| !place.there.contains(name))
            .map(|(name, about)| CompletionItem {
                documentation: Some(Documentation::String(about)),
                ..item(&name, None, format!("{name} = "), CompletionItemKind::PROPERTY)
            })
            .collect(),
        At::Value { path, quoted } => {
            let values = schema::values(path).into_iter();
            let values = values.map(|(value, text)| Offer { label: value.clone(), value, about: String::new(), text });
            values
                .chain(facts.of(path))
                // Within quotes only texts.
                .filter(|offer| offer.text || !quoted)
                .enumerate()
                .map(|(place, Offer { value, label, about, text })| CompletionItem {
                    // As they are listed here: words before names, GPUs as they are counted.
                    sort_text: Some(format!("{place:04}")),
                    filter_text: Some(if label == value { value.clone() } else { format!("{value} {label}") }),
                    label_details: (!about.is_empty())
                        .then_some(CompletionItemLabelDetails { detail: None, description: Some(about) }),
                    ..item(
                        &label,
                        (label != value).then(|| value.clone()),
                        if text && !quoted { format!("\"{value}\"") } else { value.clone() },
                        CompletionItemKind::VALUE,
                    )
                })
                .collect()
        }
        At::Nothing => Vec::new(),
    }
}

impl Facts {
    /// How the Dockerfile at `path` is built, as far as that is known.
    pub(super) fn built(&self, path: &Path) -> &Built {
        self.own.as_ref().filter(|(own, _)| own == path).map_or(&self.other, |(_, built)| built)
    }

    fn of(&self, path: &[String]) -> Vec<Offer> {
        let one = |value: &str, label: &str, about: &str| Offer {
            value: value.to_owned(),
            label: label.to_owned(),
            about: about.to_owned(),
            text: true,
        };
        let plain = |names: &[String]| names.iter().map(|name| one(name, name, "")).collect();
        match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["gpus", "use"] | ["jobs", _, "gpus"] => {
                let words = [("auto", "one that is free"), ("all", "all that there are"), ("none", "the CPU")];
                let words = words.into_iter().map(|(word, about)| one(word, word, about));
                words.chain(self.gpus.iter().map(|gpu| one(&gpu.select, &gpu.title, &gpu.about))).collect()
            }
            ["image", "from"] => plain(self.images.as_deref().unwrap_or_default()),
            ["image", "dockerfile"] => plain(&self.dockerfiles),
            _ => Vec::new(),
        }
    }
}

pub(super) fn hover(text: &str, position: Position, facts: &Facts) -> Option<Hover> {
    if let Some(path) = Place::word(text, position) {
        return Some(plain(schema::about(&path)?));
    }
    let value = Place::value(text, position)?;
    let said = [values::about(&value, facts), schema::about(&value.path)];
    let said: Vec<String> = said.into_iter().flatten().collect();
    (!said.is_empty()).then(|| plain(said.join("\n\n")))
}

pub(super) fn hover_dockerfile(text: &str, position: Position, built: &Built) -> Option<Hover> {
    Some(plain(dockerfile::hover(text, position, built)?))
}

fn plain(value: String) -> Hover {
    let value = MarkupContent { kind: MarkupKind::PlainText, value };
    Hover { contents: HoverContents::Markup(value), range: None }
}

/// What is wrong with the text of `gpubay.toml`. Without trust it is only read, and nothing that it names is looked at.
pub(super) fn check(request: &LoadRequest<'_>, text: &str, trusted: bool) -> Vec<Diagnostic> {
    let checked = if trusted { config::check(request, text) } else { config::check_syntax(request, text) };
    checked.err().and_then(diagnostic).into_iter().collect()
}

/// Values that are well written, and name what is not there.
pub(super) fn check_values(text: &str, facts: &Facts) -> Vec<Diagnostic> {
    values::check(text, facts)
}

/// `None`: it stands in no line of this file.
fn diagnostic(error: ConfigError) -> Option<Diagnostic> {
    let place = error.place().filter(|place| place.file.ends_with(config::FILE_NAME))?;
    let error = Error::from(error);
    let message = without_place(&error.message, place.line);
    Some(at_place(place.line, place.column, error.code, message, error.hint.as_deref()))
}

/// The excerpt is for terminals: in an editor the line itself is marked.
pub(super) fn without_place(message: &str, line: u32) -> &str {
    let message = message.lines().next().unwrap_or_default();
    message.split_once(&format!(":{line}:")).map_or(message, |(_, rest)| {
        // Some name the column as well; what is said may have colons of its own.
        let said = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        said.strip_prefix(':').unwrap_or(said).trim_start()
    })
}

/// An error at a place, both counted from 1.
pub(super) fn at_place(line: u32, column: Option<u32>, code: &str, message: &str, hint: Option<&str>) -> Diagnostic {
    let line = line.saturating_sub(1);
    let start = column.map_or(0, |column| column.saturating_sub(1));
    let hint = hint.map(|hint| format!("\n{hint}")).unwrap_or_default();
    Diagnostic {
        // To the end of the line, however long.
        range: Range::new(Position::new(line, start), Position::new(line, u32::from(u16::MAX))),
        severity: Some(DiagnosticSeverity::ERROR),
        code: Some(NumberOrString::String(code.to_owned())),
        source: Some("GPU Bay".to_owned()),
        message: format!("{message}{hint}"),
        ..Diagnostic::default()
    }
}

pub(super) fn check_dockerfile(text: &str, built: &Built, today: Day) -> Vec<Diagnostic> {
    dockerfile::check(text, built, today)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let gpus = [0, 1].map(|index| KnownGpu {
            listed: Listed { index: Some(index), uuid: Some(format!("GPU-{index}abc")), ..Listed::default() },
            select: format!("GPU-{index}abc"),
            title: format!("GPU {index}"),
            about: "H100".to_owned(),
        });
        Facts {
            gpus: gpus.to_vec(),
            images: Some(vec!["me/base:1".to_owned()]),
            dockerfiles: vec!["docker/a/Dockerfile".to_owned()],
            ..Facts::default()
        }
    }

    /// `|` is the cursor.
    fn labels(text: &str) -> Vec<String> {
        items(text).into_iter().map(|item| item.insert_text.unwrap_or(item.label)).collect()
    }

    fn items(text: &str) -> Vec<CompletionItem> {
        let (text, position) = cursor(text);
        complete(&text, position, &facts())
    }

    fn cursor(text: &str) -> (String, Position) {
        let at = text.find('|').expect("a cursor");
        let before = &text[..at];
        let line = before.matches('\n').count() as u32;
        let column = before.rsplit('\n').next().unwrap_or_default().encode_utf16().count() as u32;
        (text.replacen('|', "", 1), Position::new(line, column))
    }

    #[test]
    fn tables_keys_and_values_are_completed_where_they_belong() {
        let has = |text: &str, wanted: &str| {
            let found = labels(text);
            assert!(found.iter().any(|label| label == wanted), "{wanted} in {text:?}: {found:?}");
        };
        let lacks = |text: &str, unwanted: &str| {
            let found = labels(text);
            assert!(!found.iter().any(|label| label == unwanted), "{unwanted} in {text:?}: {found:?}");
        };
        has("[|", "gpus");
        has("[con|]", "container");
        has("[gpus]\n|", "use = ");
        has("[gpus]\nus|", "use = ");
        lacks("[gpus]\nuse = \"all\"\n|", "use = ");
        has("[jobs.train]\n|", "command = ");
        has("[gpus]\nisolation = |", "\"soft\"");
        has("[gpus]\nisolation = \"|\"", "soft");
        has("[gpus]\nrequired = |", "true");
        lacks("[gpus]\nrequired = \"|\"", "true");
        has("[gpus]\nuse = \"|", "GPU-0abc");
        has("[gpus]\nuse = [\n  \"0\",\n  \"|", "GPU-1abc");
        has("[jobs.train]\ngpus = |", "\"all\"");
        has("[image]\nfrom = \"|\"", "me/base:1");
        has("[image]\ndockerfile = |", "\"docker/a/Dockerfile\"");
        has("[venv] # é🎉\ninstaller = \"|", "uv");
        assert_eq!(labels("[gpus]\n# us|"), Vec::<String>::new());
        assert_eq!(labels("[nonsense]\n|"), Vec::<String>::new());
    }

    #[test]
    fn gpus_are_listed_by_number_and_model_after_the_words() {
        let mut items = items("[gpus]\nuse = |");
        items.sort_by_key(|item| item.sort_text.clone());
        let listed: Vec<String> = items
            .iter()
            .map(|item| {
                let about = item.label_details.as_ref().and_then(|details| details.description.clone());
                format!("{} | {}", item.label, about.unwrap_or_default())
            })
            .collect();
        assert_eq!(
            listed,
            ["auto | one that is free", "all | all that there are", "none | the CPU", "GPU 0 | H100", "GPU 1 | H100"]
        );
        assert_eq!(items[3].insert_text.as_deref(), Some("\"GPU-0abc\""));
        // Whoever types either finds it.
        assert_eq!(items[3].filter_text.as_deref(), Some("GPU-0abc GPU 0"));
    }

    #[test]
    fn keys_and_tables_are_explained() {
        let said = |text: &str| {
            let (text, position) = cursor(text);
            hover(&text, position, &facts()).map(|hover| match hover.contents {
                HoverContents::Markup(said) => said.value,
                other => panic!("{other:?}"),
            })
        };
        assert!(said("[gp|us]\n").is_some_and(|text| text.contains("Which GPUs the container gets")));
        assert!(said("[gpus]\niso|lation = \"soft\"").is_some_and(|text| text.contains("soft")));
        assert!(said("[jobs.x]\nco|mmand = []").is_some_and(|text| text.contains("program")));
        assert_eq!(said("[gpus]\nnonsense| = 1"), None);
        let begins = |text: &str, wanted: &str| {
            let found = said(text);
            assert!(found.as_ref().is_some_and(|said| said.starts_with(wanted)), "{wanted} of {text:?}: {found:?}");
        };
        begins("[gpus]\nuse = \"devi|ce=1\"", "GPU 1, H100, GPU-1abc\n\n");
        begins("[gpus]\nuse = \"device=1,GPU-0a|\"", "GPU 1, H100, GPU-1abc\nGPU 0, H100, GPU-0abc\n\n");
        begins("[jobs.a]\ngpus = [\n  \"0\", # |\n  \"1|\",\n]".replacen("# |", "# x", 1).as_str(), "GPU 1, H100");
        begins("[gpus]\nuse = \"au|to\"", "one that is free\n\n");
        begins("[image]\nfrom = \"me/base|:1\"", "on this engine\n\n");
        begins("[image]\nfrom = \"me/bas|e:2\"", "not on this engine: it is pulled at the next start\n\n");
        // Of others their key tells; and of no comment anything.
        begins("[gpus]\nuse = \"2|\"", "`auto` (one free GPU)");
        begins("[gpus]\nrequired = tr|ue", &said("[gpus]\nrequi|red = true").expect("it is explained"));
        assert_eq!(said("[gpus]\nuse = \"all\" # al|l"), None);
        assert_eq!(said("|"), None);
    }

    #[test]
    fn a_message_is_whole_without_its_place() {
        for (message, said) in [
            ("/w/Dockerfile:7: `RUN echo a: b` failed\n    a: b", "`RUN echo a: b` failed"),
            ("/w/gpubay.toml:7:12: unknown key `x`: y", "unknown key `x`: y"),
            ("/w/Dockerfile:7: 3 things: none", "3 things: none"),
            ("of no place: at all", "of no place: at all"),
        ] {
            assert_eq!(without_place(message, 7), said);
        }
    }

    #[test]
    fn which_files_are_ours() {
        for (path, kind) in [
            ("/w/gpubay.toml", Some(Kind::Config)),
            ("/w/docker/a/Dockerfile", Some(Kind::Dockerfile)),
            ("/w/Dockerfile.dev", Some(Kind::Dockerfile)),
            ("/w/dev.Dockerfile", Some(Kind::Dockerfile)),
            ("/w/train.dockerfile", Some(Kind::Dockerfile)),
            ("/w/Containerfile", Some(Kind::Dockerfile)),
            ("/w/Dockerfiles", None),
            ("/w/pyproject.toml", None),
            ("/w/Dockerfiles", None),
        ] {
            assert_eq!(Kind::of(Path::new(path)), kind, "{path}");
        }
    }
}
