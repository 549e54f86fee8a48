//! NVIDIA's CUDA images as a base: `cuda:12.4` for the tag that there is, and a recipe for those that NVIDIA has deleted.
//! Pure.

use super::ScaffoldError;
use crate::gpu::cuda::Cuda;
use crate::registry::life::cuda::{self, Packages, Tag, complete, nearest, of_nvidia, packages};
use crate::registry::life::{How, past, today};

/// On what NVIDIA's archive has the packages for.
const UBUNTU: &str = "ubuntu:18.04";
const UBUNTU_TAG: &str = "ubuntu18.04";
const ARCHIVE: &str = "https://developer.download.nvidia.com/compute/cuda/repos/ubuntu1804/x86_64";
const KINDS: [&str; 3] = ["base", "runtime", "devel"];

/// A CUDA image that is there, or what takes the place of one that is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CudaBase {
    /// What the first `FROM` names.
    pub(super) image: String,
    recipe: Option<Recipe>,
    /// Sentences on what the user has to know.
    pub(super) notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Recipe {
    cuda: Cuda,
    kind: String,
    cudnn: bool,
    instead: String,
}

impl CudaBase {
    /// `None`: that names none of NVIDIA's CUDA images.
    ///
    /// # Errors
    /// [`ScaffoldError`] for a version that is none, that no tag is known for, or that nothing can be had of.
    pub(super) fn of(typed: &str) -> Result<Option<Self>, ScaffoldError> {
        let short = typed.strip_prefix("cuda:").or((typed == "cuda").then_some(""));
        let (repository, tag) = match (short, of_nvidia(typed)) {
            (Some(tag), _) => ("nvidia/cuda", tag),
            (None, Some((repository, tag))) => (repository, tag.unwrap_or_default()),
            (None, None) if is_version(typed) => return Err(ScaffoldError::OnlyVersion(typed.to_owned())),
            (None, None) => return Ok(None),
        };
        let Some(parsed) = Tag::parse(tag) else {
            let major = tag.split(['.', '-']).next().unwrap_or_default();
            let these = cuda::of_major(major);
            if these.is_empty() && is_version(major) {
                let (typed, known) = (typed.to_owned(), cuda::living().join(", "));
                return Err(ScaffoldError::NoSuchCuda { typed, major: major.to_owned(), known });
            }
            return Err(ScaffoldError::CudaVersion { typed: typed.to_owned(), these });
        };
        let full = if short.is_some() { format!("{repository}:{tag}") } else { typed.to_owned() };
        let past = past(&full, today());
        if past.as_ref().is_some_and(|past| matches!(past.how, How::Deleted { .. })) {
            return Self::deleted(typed, &parsed).map(Some);
        }
        if short.is_some() && parsed.kind.as_deref().is_some_and(|kind| !KINDS.contains(&kind)) {
            return Err(ScaffoldError::CudaKind(typed.to_owned()));
        }
        let version = tag.split('-').next().unwrap_or_default();
        let image = match short {
            Some(_) => match complete(&parsed).filter(|tag| parsed.patch.is_none() || tag.starts_with(version)) {
                Some(tag) => format!("{repository}:{tag}"),
                None => {
                    let of_it = Tag { patch: None, cudnn: false, kind: None, distro: None, ..parsed.clone() };
                    let known = match complete(&of_it) {
                        Some(tag) => format!("such as {tag}"),
                        None => format!("of {}", cuda::living().join(", ")),
                    };
                    let nearest = nearest(&parsed, today()).unwrap_or_default();
                    return Err(ScaffoldError::CudaUnknown { typed: typed.to_owned(), known, nearest });
                }
            },
            None => full,
        };
        let notes = self::past(&image, today()).map(|past| format!("{image}: {}. {}", past.said(), past.next()));
        Ok(Some(Self { image, recipe: None, notes: notes.into_iter().collect() }))
    }

    fn deleted(typed: &str, tag: &Tag) -> Result<Self, ScaffoldError> {
        let Some(packages) = packages(tag.cuda) else {
            return Err(ScaffoldError::CudaGone { typed: typed.to_owned(), known: cuda::archived() });
        };
        let kind = tag.kind.as_deref().unwrap_or("devel");
        if !KINDS.contains(&kind) {
            return Err(ScaffoldError::CudaKind(typed.to_owned()));
        }
        // Where nothing is said of it, it comes if it is to be had.
        let wanted = tag.cudnn || tag.kind.is_none();
        let cudnn = wanted && kind != "base" && packages.cudnn.is_some();
        let instead = format!("nvidia/cuda:{}", nearest(tag, today()).unwrap_or_default());
        let mut notes = vec![format!(
            "unsupported: NVIDIA has deleted its images of CUDA {0}, so the Dockerfile is a recipe for such a base, of the \
             packages in NVIDIA's archive; {instead} is the nearest that is looked after",
            tag.cuda
        )];
        if tag.distro.as_deref().is_some_and(|distro| distro != UBUNTU_TAG) {
            notes.push(format!("the archive's packages are for Ubuntu 18.04, so the recipe is on {UBUNTU}"));
        }
        if tag.cudnn && !cudnn {
            notes.push(format!("the archive has no cuDNN for CUDA {}, so there is none in it", tag.cuda));
        }
        notes.push(
            "editors cannot be attached to it, since Ubuntu 18.04 is too old for their servers; working from outside does"
                .to_owned(),
        );
        let recipe = Recipe { cuda: tag.cuda, kind: kind.to_owned(), cudnn, instead };
        Ok(Self { image: UBUNTU.to_owned(), recipe: Some(recipe), notes })
    }

    /// The Dockerfile from its first `FROM` to where Python is there.
    pub(super) fn beginning(&self) -> String {
        match &self.recipe {
            Some(recipe) => recipe.text(),
            None if self.image.contains("-ubuntu") => {
                format!("FROM {}\n{}", self.image, super::dockerfile::UBUNTUS_PYTHON)
            }
            None => format!("FROM {}\n", self.image),
        }
    }
}

/// No image is called that, and who types it means one of these.
fn is_version(typed: &str) -> bool {
    let first = typed.split('-').next().unwrap_or_default();
    !first.is_empty() && first.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

pub(super) fn meant_by(version: &str) -> String {
    let of_cuda = match version.split(['.', '-']).next().map(cuda::of_major).unwrap_or_default().last() {
        Some(newest) if Tag::parse(version).is_none() => newest.clone(),
        Some(_) => version.to_owned(),
        None => String::new(),
    };
    match (of_cuda.as_str(), version.split('.').next()) {
        ("", Some("3")) => format!("Python's: gpubay init --base python:{version}"),
        ("", Some("18" | "20" | "22" | "24" | "26")) => format!("Ubuntu's: gpubay init --base ubuntu:{version}"),
        ("", _) => format!("Write the image before it, such as cuda:{} or python:3.13.", newest()),
        (of_cuda, _) => format!("CUDA's: gpubay init --base cuda:{of_cuda}"),
    }
}

/// The newest CUDA that there are images of.
pub(super) fn newest() -> String {
    cuda::living().pop().unwrap_or_default()
}

impl Recipe {
    fn text(&self) -> String {
        let Some(packages) = packages(self.cuda) else { return String::new() };
        let cuda = self.cuda;
        let like = format!(
            "{cuda}{}-{}-{UBUNTU_TAG}",
            packages.cudnn.filter(|_| self.cudnn).map(|(major, _)| format!("-cudnn{major}")).unwrap_or_default(),
            self.kind
        );
        let names = self.packages(packages).join(" \\\n        ");
        let full = packages.version.split('-').next().unwrap_or_default();
        let requires = cuda_requires(cuda);
        format!(
            r#"# UNSUPPORTED: NVIDIA has deleted its images of CUDA {cuda} and mends nothing of it, and Ubuntu 18.04 is past its
# standard support. This makes a base like nvidia/cuda:{like} of the packages in NVIDIA's archive.
# The nearest that is looked after: {instead}
FROM {UBUNTU}
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates curl gnupg \
 && curl -fsSL {ARCHIVE}/3bf863cc.pub -o /usr/share/keyrings/nvidia-cuda.asc \
 && echo "deb [signed-by=/usr/share/keyrings/nvidia-cuda.asc] {ARCHIVE} /" > /etc/apt/sources.list.d/cuda.list \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        {names} \
 && ln -sfn cuda-{cuda} /usr/local/cuda \
 && echo /usr/local/cuda/lib64 > /etc/ld.so.conf.d/cuda.conf && ldconfig \
 && rm -rf /var/lib/apt/lists/*
ENV CUDA_VERSION={full} \
    NVIDIA_REQUIRE_CUDA="{requires}" \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PATH=/usr/local/cuda/bin:$PATH \
    LIBRARY_PATH=/usr/local/cuda/lib64/stubs

# Ubuntu's own Python, 3.6, and the last pip for it.
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 python3-pip python3-venv \
 && python3 -m pip install --no-cache-dir 'pip<22' \
 && rm -rf /var/lib/apt/lists/*
"#,
            instead = self.instead,
        )
    }

    /// Those of the flavour, as NVIDIA's own images had them.
    fn packages(&self, packages: &Packages) -> Vec<String> {
        let short = format!("{}-{}", self.cuda.major, self.cuda.minor);
        let exactly = |name: &str| format!("{name}-{short}={}", packages.version);
        let mut names = vec![exactly("cuda-cudart"), format!("cuda-compat-{short}")];
        let has =
            |kind: &str| KINDS.iter().position(|one| *one == self.kind) >= KINDS.iter().position(|one| *one == kind);
        if has("runtime") {
            names.extend(["cuda-libraries", "cuda-nvtx"].map(exactly));
            names.extend(packages.cublas.map(|version| format!("libcublas10={version}")));
        }
        if has("devel") {
            let devel = ["cuda-minimal-build", "cuda-libraries-dev", "cuda-command-line-tools", "cuda-nvml-dev"];
            names.extend(devel.map(exactly));
            names.extend(packages.cublas.map(|version| format!("libcublas-dev={version}")));
        }
        if let Some((major, version)) = packages.cudnn.filter(|_| self.cudnn) {
            names.push(format!("libcudnn{major}={version}+cuda{}", self.cuda));
            if has("devel") {
                names.push(format!("libcudnn{major}-dev={version}+cuda{}", self.cuda));
            }
        }
        names
    }
}

/// As NVIDIA's own images of it said.
fn cuda_requires(cuda: Cuda) -> String {
    match cuda.minor {
        0 => format!("cuda>={cuda}"),
        _ => format!("cuda>={cuda} brand=tesla,driver>=418,driver<419"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::build::dockerfile::parse;
    use crate::error::Explain;

    #[track_caller]
    fn base(typed: &str) -> CudaBase {
        CudaBase::of(typed).expect("good").expect("one of NVIDIA's")
    }

    #[test]
    fn a_toolkit_that_is_looked_after_is_an_ordinary_base() {
        for (typed, image) in [
            ("cuda:12.4", "nvidia/cuda:12.4.1-cudnn-devel-ubuntu22.04"),
            ("cuda:12.4.1", "nvidia/cuda:12.4.1-cudnn-devel-ubuntu22.04"),
            ("cuda:13.4-runtime", "nvidia/cuda:13.4.2-runtime-ubuntu24.04"),
            ("nvidia/cuda:12.4.1-devel-ubuntu22.04", "nvidia/cuda:12.4.1-devel-ubuntu22.04"),
            ("nvcr.io/nvidia/cuda:13.9.0-base-ubi9", "nvcr.io/nvidia/cuda:13.9.0-base-ubi9"),
        ] {
            let found = base(typed);
            assert_eq!((found.image.as_str(), found.notes.len(), &found.recipe), (image, 0, &None), "{typed}");
            let text = found.beginning();
            assert!(text.starts_with(&format!("FROM {image}\n")), "{text}");
            assert_eq!(text.contains("python3-venv"), image.contains("ubuntu"), "{text}");
        }
        for typed in ["python:3.13", "me/cuda:10.2", "cudax:1"] {
            assert_eq!(CudaBase::of(typed).expect("good"), None, "{typed}");
        }
    }

    #[test]
    fn one_that_is_past_its_life_and_still_there_is_taken_and_said() {
        for typed in ["cuda:11.8", "nvidia/cuda:11.8.0-cudnn8-devel-ubuntu22.04"] {
            let found = base(typed);
            assert_eq!(found.image, "nvidia/cuda:11.8.0-cudnn8-devel-ubuntu22.04");
            assert!(
                found.notes[0].contains("past its life") && found.notes[0].contains("12.0.1-cudnn8-devel"),
                "{found:?}"
            );
        }
    }

    #[test]
    fn one_that_is_deleted_becomes_a_recipe_that_says_it_is_unsupported() {
        for (typed, has, lacks) in [
            ("cuda:10.2", vec!["cuda-minimal-build-10-2=10.2.89-1", "libcudnn8-dev=8.6.0.163-1+cuda10.2"], vec![]),
            ("nvidia/cuda:10.2-runtime-ubuntu18.04", vec!["libcublas10=10.2.2.89-1"], vec!["minimal-build", "cudnn8="]),
            ("nvcr.io/nvidia/cuda:10.2-cudnn7-devel", vec!["libcudnn8=8.6"], vec![]),
            ("cuda:10.1-base", vec!["cuda-cudart-10-1=10.1.243-1", "cuda-compat-10-1"], vec!["libcublas", "cudnn8="]),
            ("cuda:10.0", vec!["cuda-libraries-dev-10-0=10.0.130-1"], vec!["libcublas", "cudnn8="]),
        ] {
            let found = base(typed);
            assert_eq!(found.image, "ubuntu:18.04", "{typed}");
            assert!(found.notes[0].starts_with("unsupported: "), "{:?}", found.notes);
            let text = found.beginning();
            assert!(text.starts_with("# UNSUPPORTED: "), "{text}");
            assert!(has.iter().all(|word| text.contains(word)), "{typed}: {text}");
            assert!(!lacks.iter().any(|word: &&str| text.contains(word)), "{typed}: {text}");
            let parsed = parse(&text);
            let keywords: Vec<&str> = parsed.stages[0].instructions.iter().map(|one| one.keyword.as_str()).collect();
            assert_eq!((parsed.stages[0].base.as_str(), keywords), ("ubuntu:18.04", vec!["RUN", "ENV", "RUN"]));
        }
        let said = |typed: &str| base(typed).notes.join(" | ");
        assert!(said("cuda:10.2-devel-centos7").contains("on ubuntu:18.04"));
        assert!(said("nvidia/cuda:10.1-cudnn7-devel-ubuntu18.04").contains("no cuDNN"));
        // Whoever keeps a mirror has it.
        assert_eq!(base("hub.lan/nvidia/cuda:10.2-devel-ubuntu18.04").recipe, None);
    }

    #[test]
    fn each_mistake_has_its_own_sentence() {
        for (typed, word) in [
            (
                "cuda",
                "no version of CUDA NVIDIA has none that is called latest. The newest: gpubay init --base cuda:13.4",
            ),
            ("cuda:latest", "called latest"),
            ("nvidia/cuda:latest", "called latest"),
            ("cuda:12", "there are 12.0, 12.1, "),
            ("cuda:12-devel", "The newest of them: gpubay init --base cuda:12.9"),
            ("cuda:10", "there are 10.0, 10.1, 10.2"),
            ("cuda:11", "gpubay init --base cuda:11.8"),
            ("cuda:12.x", "there are 12.0, 12.1, "),
            ("10.2", "is a version and no image CUDA's: gpubay init --base cuda:10.2"),
            ("12.4-devel", "gpubay init --base cuda:12.4-devel"),
            ("12", "gpubay init --base cuda:12.9"),
            ("3.12", "gpubay init --base python:3.12"),
            ("22.04", "gpubay init --base ubuntu:22.04"),
            ("7.1", "Write the image before it"),
            ("nvidia/cuda", "no version"),
            ("cuda:12.7", "12.6, 12.8"),
            ("cuda:12.7", "The nearest: gpubay init --base nvidia/cuda:12.8.1-devel-"),
            ("cuda:12.4-ubuntu24.04", "only such as 12.4.1-cudnn-devel-ubuntu22.04"),
            ("cuda:99", "there is no CUDA 99 here; there are 12.0, "),
            ("cuda:99-devel", "The newest: gpubay init --base cuda:13.4"),
            ("cuda:13.9", "in full"),
            ("cuda:12.4.0", "in full"),
            ("cuda:12.4-tensorrt", "base, runtime and devel"),
            ("cuda:9.2", "10.0, 10.1, 10.2"),
            ("cuda:10.2-tensorrt", "base, runtime and devel"),
        ] {
            let error = CudaBase::of(typed).expect_err(typed);
            let said = format!("{error} {}", error.hint().unwrap_or_default());
            assert_eq!(error.code(), "bad_value");
            assert!(said.contains(word) && said.contains(typed), "{typed}: {said}");
        }
    }
}
