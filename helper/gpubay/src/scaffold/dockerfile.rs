//! The Dockerfile, `.dockerignore` and requirements of a fresh workspace. Pure.
//!
//! The Dockerfile has to be read by every builder there is, the classic one included: no `RUN --mount`, no here-documents,
//! one variable an `ARG`. It calls no `useradd`, which many images lack, and which fails where a number is taken.

use super::Base;
use super::bases::{MINIFORGE, Preset};

/// The requirements file, in the workspace.
pub(super) const REQUIREMENTS: &str = "requirements.txt";

/// What every such Dockerfile begins with.
pub(super) const MARK: &str = "# Made by `gpubay init`";

const USER: &str = r#"
# Your user, with your numbers, so that files in the workspace stay yours: gpubay fills these in. An image may hold that
# name or number already. A name gets your numbers; Ubuntu's placeholder `ubuntu` makes way; any other user with your
# number stays what it is, with your group.
ARG USER_NAME=dev
ARG USER_UID=1000
ARG USER_GID=1000
RUN set -eu; touch /etc/passwd /etc/group; home="/home/$USER_NAME"; shell=/bin/sh; \
    has() { cut -d: -f"$1" "$3" | grep -qxF -e "$2"; }; \
    if ! has 3 "$USER_GID" /etc/group; then \
        group="$USER_NAME"; if has 1 "$group" /etc/group; then group="$group-$USER_GID"; fi; \
        echo "$group:x:$USER_GID:" >> /etc/group; \
    fi; \
    if [ "$USER_NAME" != ubuntu ]; then sed -i "/^ubuntu:[^:]*:$USER_UID:/d" /etc/passwd; fi; \
    if has 1 "$USER_NAME" /etc/passwd; then \
        sed -i "s/^\($USER_NAME:[^:]*\):[^:]*:[^:]*:/\1:$USER_UID:$USER_GID:/" /etc/passwd; \
    elif has 3 "$USER_UID" /etc/passwd; then \
        sed -i "s/^\([^:]*:[^:]*:$USER_UID\):[^:]*:/\1:$USER_GID:/" /etc/passwd; \
    else \
        if [ -x /bin/bash ]; then shell=/bin/bash; fi; \
        echo "$USER_NAME:*:$USER_UID:$USER_GID::$home:$shell" >> /etc/passwd; \
    fi; \
    own="$(sed -n "s/^[^:]*:[^:]*:$USER_UID:[^:]*:[^:]*:\([^:]*\):.*/\1/p" /etc/passwd | head -n 1)"; \
    mkdir -p /home "$own"; chown "$USER_UID:$USER_GID" "$own"; \
    if [ ! -e "$home" ]; then ln -s "$own" "$home"; fi

# ~/.cache is kept by gpubay when the container is replaced, and models with it.
ENV PATH=/home/${USER_NAME}/.local/bin:$PATH \
    TORCH_HOME=/home/${USER_NAME}/.cache/torch
"#;

const INSTALL: &str = r"
# As your user: what is in the image is seen and nothing of it is touched. BYTECODE is --compile or --no-compile: with
# bytecode packages are imported several times faster, and much Python weighs up to twice as much.
ARG BYTECODE=@BYTECODE@
COPY --chown=${USER_UID}:${USER_GID} requirements.txt /tmp/requirements.txt
USER ${USER_UID}:${USER_GID}
RUN if grep -q '^[[:space:]]*[^#[:space:]]' /tmp/requirements.txt; then \
        PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --user --no-cache-dir $BYTECODE --no-warn-script-location \
            --disable-pip-version-check -r /tmp/requirements.txt; \
    fi
";

/// NVIDIA's CUDA images have none.
pub(super) const UBUNTUS_PYTHON: &str = r"
# Ubuntu's own Python.
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 python3-pip python3-venv \
 && rm -rf /var/lib/apt/lists/*
";

/// The text of `docker/<name>/Dockerfile`.
pub(super) fn dockerfile(base: &Base) -> String {
    let mut text = format!(
        "{MARK}, and yours from now on. `gpubay up` builds it, and again when it changes, or what it copies.\n"
    );
    match base {
        Base::Cuda(base) => text.push_str(&base.beginning()),
        _ => text.push_str(&format!("FROM {}\n", base.image())),
    }
    match base {
        Base::Preset(Preset::Cuda) => text.push_str(UBUNTUS_PYTHON),
        Base::Preset(Preset::CudaConda) => text.push_str(&format!(
            "\n# conda, from its own image.\nCOPY --from={MINIFORGE} /opt/conda /opt/conda\nENV PATH=/opt/conda/bin:$PATH\n"
        )),
        _ => {}
    }
    text.push_str(
        "\n# No __pycache__ folders in the workspace, and output that appears at once.\n\
         ENV PYTHONDONTWRITEBYTECODE=1 \\\n    PYTHONUNBUFFERED=1\n",
    );
    text.push_str(
        "\n# System packages come here, as root. For example:\n\
         # RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*\n",
    );
    text.push_str(USER);
    text.push_str(&INSTALL.replace("@BYTECODE@", if has_bytecode(base) { "--compile" } else { "--no-compile" }));
    text
}

/// Beside a base of many gigabytes bytecode is nothing; beside a small one, or one of unknown size, it may be much.
pub(super) fn has_bytecode(base: &Base) -> bool {
    matches!(base, Base::Preset(Preset::NgcPytorch | Preset::Cuda | Preset::CudaConda) | Base::Cuda(_))
}

pub(super) fn requirements() -> String {
    "# Python packages, one a line. The Dockerfile installs them beside what its base brings.\n".to_owned()
}

/// Everything but what the Dockerfile copies: the workspace is mounted, and a context is sent to the engine.
pub(super) fn dockerignore() -> String {
    format!(
        "# The image needs nothing else of the workspace, which is mounted and not copied: data, secrets and .git stay out of\n\
         # builds. Whatever else the Dockerfile is to COPY is named here, each with a ! before it.\n*\n!{REQUIREMENTS}\n"
    )
}
