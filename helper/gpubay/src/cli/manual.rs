//! Pages of the manual, from the same words as `--help`.

use std::fmt::Write as _;
use std::io;

use clap::{Arg, ArgAction, Command};
use clap_mangen::Man;

use super::args::{EXIT_CODES, EXIT_CODES_OF_PROGRAMS, runs_a_program};

/// The page of the whole, or of one of its commands.
pub(super) fn page(root: &Command, name: Option<&str>) -> io::Result<String> {
    let mut root = root.clone();
    root.build();
    let (command, title) = match name.and_then(|name| root.find_subcommand(name)) {
        Some(command) => (command.clone(), format!("gpubay-{}", command.get_name())),
        None => (root, "gpubay".to_owned()),
    };
    let command = command.display_name(title.clone());
    let version = concat!("gpubay ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).title(title.to_uppercase()).source(version).manual("GPU Bay");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    page.extend_from_slice(synopsis(&command).as_bytes());
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut text = String::from_utf8_lossy(&page).into_owned();
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    for (heading, lines) in sections(&help) {
        section(&mut text, &heading, &lines);
    }
    if name.is_some() {
        let mut codes = lines_of(EXIT_CODES);
        if name.is_some_and(runs_a_program) {
            codes.extend(lines_of(EXIT_CODES_OF_PROGRAMS));
        }
        section(&mut text, "EXIT STATUS", &codes);
        text.push_str(".SH SEE ALSO\n\\fBgpubay\\fR(1)\n");
    }
    Ok(text)
}

fn lines_of(text: &str) -> Vec<&str> {
    text.lines().collect()
}

/// What follows the options in `--help`: headings end in a colon and have indented lines; anything else is a note.
fn sections(help: &str) -> Vec<(String, Vec<&str>)> {
    let mut found: Vec<(String, Vec<&str>)> = Vec::new();
    let mut lines = help.lines().peekable();
    while let Some(line) = lines.next() {
        let indented = |line: &&str| line.starts_with("  ");
        match line.strip_suffix(':').filter(|_| !indented(&line) && lines.peek().is_some_and(indented)) {
            Some("Example" | "Examples") => found.push(("EXAMPLES".to_owned(), Vec::new())),
            Some("Exit codes") => found.push(("EXIT STATUS".to_owned(), Vec::new())),
            Some(heading) => found.push((heading.to_uppercase(), Vec::new())),
            None => {
                let note =
                    !indented(&line) && !line.is_empty() && found.last().is_none_or(|(_, had)| had.last() == Some(&""));
                if note && found.last().is_none_or(|(heading, _)| heading != "NOTES") {
                    found.push(("NOTES".to_owned(), Vec::new()));
                }
                if let Some((_, had)) = found.last_mut() {
                    had.push(line);
                }
            }
        }
    }
    found
}

fn section(page: &mut String, heading: &str, lines: &[&str]) {
    let _ = writeln!(page, ".SH {heading}");
    let mut verbatim = false;
    for line in lines {
        let indented = line.starts_with("  ");
        if indented != verbatim && !line.is_empty() {
            page.push_str(if indented { ".nf\n" } else { ".fi\n" });
            verbatim = indented;
        }
        match line.trim_end() {
            "" => page.push_str(".PP\n"),
            line => {
                let _ = writeln!(page, "{}", escaped(line));
            }
        }
    }
    if verbatim {
        page.push_str(".fi\n");
    }
}

/// Each option with the value that it takes.
fn synopsis(command: &Command) -> String {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let mut line = format!(".SH SYNOPSIS\n\\fB{}\\fR", escaped(name));
    let shown = |arg: &&Arg| !arg.is_hide_set();
    for option in command.get_opts().chain(command.get_arguments().filter(|arg| is_flag(arg))).filter(shown) {
        let short = option.get_short().map(|short| format!("-{short}"));
        let long = option.get_long().map(|long| format!("--{long}"));
        let names: Vec<String> =
            short.into_iter().chain(long).map(|name| format!("\\fB{}\\fR", escaped(&name))).collect();
        let value = if is_flag(option) { String::new() } else { format!(" {}", values(option)) };
        let _ = write!(line, " [{}{value}]", names.join("|"));
    }
    for positional in command.get_positionals().filter(shown) {
        let many = if positional.get_num_args().is_some_and(|range| range.max_values() > 1) { "..." } else { "" };
        let value = format!("{}{many}", values(positional));
        let _ = if positional.is_required_set() { write!(line, " {value}") } else { write!(line, " [{value}]") };
    }
    if command.has_subcommands() {
        line.push_str(" \\fICOMMAND\\fR");
    }
    line.push('\n');
    line
}

fn is_flag(arg: &Arg) -> bool {
    !arg.is_positional() && !matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

fn values(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default().iter().map(|name| format!("\\fI{}\\fR", escaped(name)));
    names.collect::<Vec<_>>().join(" ")
}

/// A line of text for troff, where a dot at its beginning and a backslash are commands.
fn escaped(line: &str) -> String {
    let text = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::args::Cli;
    use super::*;

    #[test]
    fn a_page_names_values_examples_and_exit_codes() {
        let page = page(&Cli::command(), Some("run")).expect("a page");
        for part in [
            ".TH GPUBAY-RUN 1",
            "[\\fB\\-C\\fR \\fIDIR\\fR]",
            "[\\fB\\-d\\fR|\\fB\\-\\-detach\\fR]",
            "[\\fB\\-\\-name\\fR \\fINAME\\fR]",
            ".SH EXAMPLES\n.nf\n  gpubay run \\-\\- python train.py\n",
            ".SH NOTES\nA job has its GPUs for itself",
            ".SH EXIT STATUS\n.nf\n  0 ",
            "  125  gpubay itself failed",
            ".SH SEE ALSO\n\\fBgpubay\\fR(1)\n",
        ] {
            assert!(page.contains(part), "{part:?} in\n{page}");
        }
        assert!(!page.contains("EXTRA"), "{page}");
    }

    #[test]
    fn every_page_is_whole() {
        let mut root = Cli::command();
        root.build();
        let names: Vec<Option<&str>> = root.get_subcommands().map(|command| Some(command.get_name())).collect();
        for name in names.into_iter().chain([None]) {
            let page = page(&root, name).expect("a page");
            assert_eq!(page.matches(".nf\n").count(), page.matches(".fi\n").count(), "{page}");
            assert_eq!(page.matches(".SH EXIT STATUS\n").count(), 1, "{page}");
            assert!(page.contains(".SH EXAMPLES\n") && !page.contains("[\\fB\\-C\\fR]"), "{page}");
            // What is at the beginning of a line and looks like a command to troff is one of ours.
            for line in page.lines().filter(|line| line.starts_with('.')) {
                let known = [".TH", ".SH", ".TP", ".PP", ".nf", ".fi", ".br", ".ie", ".el", ".RS", ".RE", ".IP"];
                assert!(known.iter().any(|macro_| line.starts_with(macro_)), "{line:?} in\n{page}");
            }
        }
    }
}
