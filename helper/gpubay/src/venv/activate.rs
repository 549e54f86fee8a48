//! The activate scripts of the host env: what a terminal on the host sources.
//!
//! Everything in them is fixed text but the host env's path, quoted for its shell. The prompt is
//! fixed too: shells expand `$(…)` in a prompt, and a folder may be named so.

/// File names in `bin` and their texts, for the host env at `path`.
pub(super) fn scripts(path: &str) -> [(&'static str, String); 4] {
    [
        ("activate", SH.replace("@PATH@", &sh(path))),
        ("activate.fish", FISH.replace("@PATH@", &fish(path))),
        ("activate.csh", CSH.replace("@PATH@", &csh(path))),
        ("Activate.ps1", POWERSHELL.replace("@PATH@", &powershell(path))),
    ]
}

fn sh(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn fish(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

/// The C shell expands `!` inside single quotes, and ends a line even there.
fn csh(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''").replace('!', r"\!").replace('\n', "\\\n"))
}

/// PowerShell also takes the typographic quotes for quotes.
fn powershell(text: &str) -> String {
    let mut quoted = String::from("'");
    for c in text.chars() {
        if matches!(c, '\'' | '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}') {
            quoted.push(c);
        }
        quoted.push(c);
    }
    quoted + "'"
}

const SH: &str = r#"# For bash, zsh and other Bourne shells: source it, do not run it.
deactivate () {
    if [ -n "${_GPUBAY_OLD_PATH+x}" ]; then
        PATH="$_GPUBAY_OLD_PATH"
        export PATH
        unset _GPUBAY_OLD_PATH
    fi
    if [ -n "${_GPUBAY_OLD_PS1+x}" ]; then
        PS1="$_GPUBAY_OLD_PS1"
        export PS1
        unset _GPUBAY_OLD_PS1
    fi
    unset VIRTUAL_ENV VIRTUAL_ENV_PROMPT
    hash -r 2>/dev/null || true
    if [ "${1-}" != nondestructive ]; then
        unset -f deactivate
    fi
}
deactivate nondestructive
VIRTUAL_ENV=@PATH@
export VIRTUAL_ENV
_GPUBAY_OLD_PATH="$PATH"
PATH="$VIRTUAL_ENV/bin:$PATH"
export PATH
if [ -z "${VIRTUAL_ENV_DISABLE_PROMPT-}" ]; then
    _GPUBAY_OLD_PS1="${PS1-}"
    PS1="(gpubay) ${PS1-}"
    export PS1
    VIRTUAL_ENV_PROMPT='gpubay'
    export VIRTUAL_ENV_PROMPT
fi
hash -r 2>/dev/null || true
"#;

const FISH: &str = r#"# For fish: source it.
function deactivate -d 'Leave the container Python'
    if set -q _GPUBAY_OLD_PATH
        set -gx PATH $_GPUBAY_OLD_PATH
        set -e _GPUBAY_OLD_PATH
    end
    if functions -q _gpubay_old_prompt
        functions -e fish_prompt
        functions -c _gpubay_old_prompt fish_prompt
        functions -e _gpubay_old_prompt
    end
    set -e VIRTUAL_ENV
    set -e VIRTUAL_ENV_PROMPT
    if test "$argv[1]" != nondestructive
        functions -e deactivate
    end
end
deactivate nondestructive
set -gx VIRTUAL_ENV @PATH@
set -gx _GPUBAY_OLD_PATH $PATH
set -gx PATH "$VIRTUAL_ENV/bin" $PATH
if test -z "$VIRTUAL_ENV_DISABLE_PROMPT"
    set -gx VIRTUAL_ENV_PROMPT gpubay
    # Without a terminal there may be none.
    if functions -q fish_prompt
        functions -c fish_prompt _gpubay_old_prompt
        function fish_prompt
            printf '(gpubay) '
            _gpubay_old_prompt
        end
    end
end
"#;

const CSH: &str = r#"# For csh and tcsh: source it.
alias deactivate 'test $?_GPUBAY_OLD_PATH != 0 && setenv PATH "$_GPUBAY_OLD_PATH" && unset _GPUBAY_OLD_PATH; rehash; test $?_GPUBAY_OLD_PROMPT != 0 && set prompt="$_GPUBAY_OLD_PROMPT" && unset _GPUBAY_OLD_PROMPT; unsetenv VIRTUAL_ENV; test "\!:*" != "nondestructive" && unalias deactivate'
deactivate nondestructive
setenv VIRTUAL_ENV @PATH@
set _GPUBAY_OLD_PATH="$PATH"
setenv PATH "${VIRTUAL_ENV}/bin:$PATH"
if (! $?VIRTUAL_ENV_DISABLE_PROMPT && $?prompt) then
    set _GPUBAY_OLD_PROMPT="$prompt"
    set prompt="(gpubay) $prompt"
endif
rehash
"#;

const POWERSHELL: &str = r#"# For PowerShell: dot-source it.
function global:deactivate ([switch]$NonDestructive) {
    if (Test-Path variable:global:_GpubayOldPath) {
        $env:PATH = $global:_GpubayOldPath
        Remove-Variable -Scope global _GpubayOldPath
    }
    if (Test-Path function:global:_GpubayOldPrompt) {
        Copy-Item function:_GpubayOldPrompt function:prompt
        Remove-Item function:_GpubayOldPrompt
    }
    Remove-Item env:VIRTUAL_ENV -ErrorAction SilentlyContinue
    if (-not $NonDestructive) { Remove-Item function:deactivate }
}
deactivate -NonDestructive
$env:VIRTUAL_ENV = @PATH@
$global:_GpubayOldPath = $env:PATH
$env:PATH = (Join-Path $env:VIRTUAL_ENV 'bin') + [System.IO.Path]::PathSeparator + $env:PATH
if (-not $env:VIRTUAL_ENV_DISABLE_PROMPT) {
    Copy-Item function:prompt function:global:_GpubayOldPrompt
    function global:prompt { "(gpubay) " + (_GpubayOldPrompt) }
}
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_hostile_path_stays_text() {
        let temp = tempfile::tempdir().expect("a folder");
        let canary = temp.path().join("canary");
        for name in [
            "plain",
            "it's",
            "a b\"c",
            "-x",
            "日本",
            "line\nbreak",
            &format!("$(touch {})", canary.display()),
            "`id`;x",
        ] {
            let path = format!("/ws/{name}/.venv");
            let file = temp.path().join("activate");
            std::fs::write(&file, &scripts(&path)[0].1).expect("writes");
            let script = ". \"$1\" && printf '%s|%s' \"$VIRTUAL_ENV\" \"$PATH\" && deactivate && printf '|%s|%s' \"${VIRTUAL_ENV-gone}\" \"$PATH\"";
            for shell in ["sh", "bash"] {
                let out =
                    Command::new(shell).args(["-euc", script, "x"]).arg(&file).env("PATH", "/usr/bin:/bin").output();
                let out = out.expect("runs");
                let want = format!("{path}|{path}/bin:/usr/bin:/bin|gone|/usr/bin:/bin");
                assert_eq!(String::from_utf8_lossy(&out.stdout), want, "{out:?}");
            }
        }
        assert!(!canary.exists());
    }

    #[test]
    fn quoting() {
        assert_eq!(fish(r"a'b\c$(x)"), r"'a\'b\\c$(x)'");
        assert_eq!(csh("a'b!c\nd"), "'a'\\''b\\!c\\\nd'");
        assert_eq!(powershell("a'b’c$(x)"), "'a''b’’c$(x)'");
    }
}
