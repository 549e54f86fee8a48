//! `.vscode/settings.json` and `extensions.json`. Pure.

use serde_json::{Value, json};

/// How Python code is formatted and checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// With flake8. Leaves the layout of numeric code as it is.
    #[default]
    Autopep8,
    Ruff,
}

impl Style {
    /// As `--style` has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Autopep8 => "autopep8",
            Self::Ruff => "ruff",
        }
    }

    /// The extension that formats.
    pub(super) fn formatter(self) -> &'static str {
        match self {
            Self::Autopep8 => "ms-python.autopep8",
            Self::Ruff => "charliermarsh.ruff",
        }
    }
}

const WIDTH: u32 = 160;

/// What aligned columns of numbers break: blanks inside brackets, around operators and after commas.
const ALIGNED: [&str; 5] = ["E201", "E202", "E221", "E222", "E241"];

/// `venv` is the folder of the host env, in the workspace. Code that exists already is not reformatted by a mere save.
pub(super) fn settings(style: Style, venv: &str, format_on_save: bool) -> String {
    let mut python = json!({ "editor.defaultFormatter": style.formatter() });
    if format_on_save {
        python["editor.formatOnSave"] = json!(true);
    }
    let mut settings = json!({
        "python.defaultInterpreterPath": format!("${{workspaceFolder}}/{venv}/bin/python"),
        "[python]": python,
    });
    match style {
        Style::Autopep8 => {
            // To name one's own is to take back what autopep8 ignores by itself: E226, E24, W50 and W690.
            let ignored = [&ALIGNED[..], &["E226", "E24", "W50", "W690"]].concat().join(",");
            settings["autopep8.args"] = json!([format!("--max-line-length={WIDTH}"), format!("--ignore={ignored}")]);
            settings["flake8.args"] =
                json!([format!("--max-line-length={WIDTH}"), format!("--extend-ignore={}", ALIGNED.join(","))]);
        }
        Style::Ruff => {
            settings["ruff.lineLength"] = json!(WIDTH);
            // A program of the extension's own, which needs no Python.
            settings["ruff.importStrategy"] = json!("useBundled");
        }
    }
    pretty(&settings)
}

pub(super) fn extensions(style: Style) -> String {
    let mut wanted = vec!["ms-python.python"];
    wanted.extend(match style {
        Style::Autopep8 => &["ms-python.autopep8", "ms-python.flake8"][..],
        Style::Ruff => &["charliermarsh.ruff"][..],
    });
    wanted.push("ms-vscode-remote.remote-containers");
    pretty(&json!({ "recommendations": wanted }))
}

fn pretty(value: &Value) -> String {
    use serde::Serialize;
    let mut text = Vec::new();
    let style = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let written = value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, style));
    debug_assert!(written.is_ok());
    text.push(b'\n');
    String::from_utf8_lossy(&text).into_owned()
}
