//! Path files (`.pth`) of a mirrored folder, made harmless and meaningful on the host.

use crate::ContainerPath;

/// What a `.pth` file of the container becomes in the mirror.
///
/// Python executes lines that begin with `import`; those and comments are dropped. A path line is
/// kept where it leads into a mirrored root, and then relative to the file's own folder, so that the
/// tree means the same wherever it stands; a line that leads anywhere else names a folder of the
/// *host* to whoever reads it, and is dropped. Folders of the workspace that editable installs name are
/// the host env's business: a mirror is shared by workspaces.
///
/// `folder` is the file's own folder in the container.
pub fn rewrite_pth(text: &[u8], folder: &ContainerPath, roots: &[ContainerPath]) -> String {
    let mut out = String::new();
    for line in text.split(|&b| b == b'\n' || b == b'\r') {
        let Ok(line) = std::str::from_utf8(line) else {
            continue;
        };
        let line = line.trim_start_matches('\u{feff}').trim();
        let executed = line.strip_prefix("import").is_some_and(|rest| rest.starts_with([' ', '\t']));
        if line.is_empty() || line.starts_with('#') || executed || line.chars().any(char::is_control) {
            continue;
        }
        let Ok(target) = folder.join(line) else {
            continue;
        };
        if roots.iter().any(|root| target.below(root).is_some()) {
            out.push_str(&relative(folder, &target));
            out.push('\n');
        }
    }
    out
}

/// From one folder to another, `.` for itself.
fn relative(from: &ContainerPath, to: &ContainerPath) -> String {
    let parts = |path: &ContainerPath| {
        path.as_str().split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let (from, to) = (parts(from), parts(to));
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let mut out = vec![".."; from.len() - common];
    // A first component of `..` or `.` keeps Python and the tools from reading the line as code.
    if out.is_empty() {
        out.push(".");
    }
    out.extend(to[common..].iter().map(String::as_str));
    out.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn container(path: &str) -> ContainerPath {
        ContainerPath::new(path).expect("a container path")
    }

    #[test]
    fn only_lines_that_lead_into_the_mirror_are_kept() {
        let roots = [container("/usr/lib/python3/site-packages"), container("/opt/src")];
        for (text, want) in [
            ("/opt/src/pkg\n", "../../../../opt/src/pkg\n"),
            ("win32\nwin32/lib\n", "./win32\n./win32/lib\n"),
            (".\n", ".\n"),
            ("import os; os.system('touch /tmp/canary')\n", ""),
            ("import\tos\n", ""),
            ("  import sys\n", ""),
            ("\u{feff}import sys\n", ""),
            ("importlib_things\n", "./importlib_things\n"),
            ("# a comment\n\n", ""),
            ("/home/ada/secret\n", ""),
            ("../../../../etc\n", ""),
            ("../../../../../../../..\n", ""),
            ("a\rimport os\n", "./a\n"),
            ("/opt/src/a\x1b[31m\n", ""),
            ("x/../../site-packages/y\n", "./y\n"),
        ] {
            assert_eq!(rewrite_pth(text.as_bytes(), &roots[0], &roots), want, "{text:?}");
        }
        assert_eq!(rewrite_pth(b"\xff\xfe\nok\n", &roots[0], &roots), "./ok\n");
    }

    proptest! {
        #[test]
        fn no_line_is_executable_or_leaves_the_roots(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let roots = [container("/r/site"), container("/o")];
            for line in rewrite_pth(&text, &roots[0], &roots).lines() {
                prop_assert!(line.starts_with('.'), "{line:?}");
                let target = roots[0].join(line).expect("well formed");
                prop_assert!(roots.iter().any(|root| target.below(root).is_some()));
            }
        }
    }
}
