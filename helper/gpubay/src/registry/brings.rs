//! Which CUDA an image brings, as far as its name tells. Pure.
//!
//! Sources, read in November 2026: NVIDIA's Deep Learning Frameworks Support Matrix and release notes for its own images
//! of frameworks; «Tested build configurations» of tensorflow.org/install/source for those of `tensorflow`; all others
//! that say so have it in their tag.

use super::life::cuda::{Tag, of_nvidia};
use crate::gpu::cuda::Cuda;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brings {
    pub cuda: Cuda,
    /// Whether the image holds cuda-compat: those that are built on NVIDIA's do.
    pub compat: bool,
}

/// `26.09` of NVIDIA's framework images and what they have since then, up to the last month that is known.
const NGC: [((u32, u32), Cuda); 26] = [
    ((18, 9), Cuda::new(10, 0)),
    ((19, 3), Cuda::new(10, 1)),
    ((19, 11), Cuda::new(10, 2)),
    ((20, 6), Cuda::new(11, 0)),
    ((20, 10), Cuda::new(11, 1)),
    ((21, 2), Cuda::new(11, 2)),
    ((21, 4), Cuda::new(11, 3)),
    ((21, 7), Cuda::new(11, 4)),
    ((21, 11), Cuda::new(11, 5)),
    ((22, 1), Cuda::new(11, 6)),
    ((22, 5), Cuda::new(11, 7)),
    ((22, 9), Cuda::new(11, 8)),
    ((23, 1), Cuda::new(12, 0)),
    ((23, 3), Cuda::new(12, 1)),
    ((23, 8), Cuda::new(12, 2)),
    ((23, 11), Cuda::new(12, 3)),
    ((24, 3), Cuda::new(12, 4)),
    ((24, 6), Cuda::new(12, 5)),
    ((24, 8), Cuda::new(12, 6)),
    ((25, 1), Cuda::new(12, 8)),
    ((25, 4), Cuda::new(12, 9)),
    ((25, 8), Cuda::new(13, 0)),
    ((25, 12), Cuda::new(13, 1)),
    ((26, 3), Cuda::new(13, 2)),
    ((26, 7), Cuda::new(13, 3)),
    ((26, 9), Cuda::new(13, 4)),
];
const LAST_NGC: (u32, u32) = (26, 9);

/// Since which version of `tensorflow`; the last that is known is 2.20.
const TENSORFLOW: [((u32, u32), Cuda); 7] = [
    ((2, 1), Cuda::new(10, 1)),
    ((2, 4), Cuda::new(11, 0)),
    ((2, 5), Cuda::new(11, 2)),
    ((2, 12), Cuda::new(11, 8)),
    ((2, 15), Cuda::new(12, 2)),
    ((2, 16), Cuda::new(12, 3)),
    ((2, 18), Cuda::new(12, 5)),
];
const LAST_TENSORFLOW: (u32, u32) = (2, 20);

/// `None`: its name does not say.
pub fn of(image: &str) -> Option<Brings> {
    if let Some((_, tag)) = of_nvidia(image) {
        return Some(Brings { cuda: Tag::parse(tag?)?.cuda, compat: true });
    }
    let image = image.split('@').next()?;
    let (repository, tag) = image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'))?;
    let ends = |name: &str| repository == name || repository.ends_with(&format!("/{name}"));
    if ends("nvidia/pytorch") || ends("nvidia/tensorflow") {
        let cuda = since(&NGC, pair(tag)?, LAST_NGC)?;
        return Some(Brings { cuda, compat: true });
    }
    if ends("tensorflow/tensorflow") {
        let words = || tag.split('-');
        let cuda = since(&TENSORFLOW, pair(tag)?, LAST_TENSORFLOW).filter(|_| words().any(|word| word == "gpu"))?;
        return Some(Brings { cuda, compat: true });
    }
    let cuda = tag.split(['-', '_']).find_map(|word| Cuda::parse(word.strip_prefix("cuda")?))?;
    // Its maker's own for running are built on plain Ubuntu.
    let plain = ends("pytorch/pytorch") && !tag.ends_with("-devel");
    Some(Brings { cuda, compat: !plain })
}

/// `26.09-py3` and `2.15.0-gpu` by the two numbers that they begin with.
fn pair(tag: &str) -> Option<(u32, u32)> {
    let version = tag.split('-').next()?;
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn since(table: &[((u32, u32), Cuda)], version: (u32, u32), last: (u32, u32)) -> Option<Cuda> {
    table.iter().rfind(|(since, _)| *since <= version).map(|(_, cuda)| *cuda).filter(|_| version <= last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_names_its_cuda_is_understood() {
        for (image, cuda, compat) in [
            ("nvidia/cuda:12.4.1-devel-ubuntu22.04", "12.4", true),
            ("nvcr.io/nvidia/cuda:10.2-base@sha256:00", "10.2", true),
            ("mirror.lan/nvidia/cuda:13.0.2-base-ubi9", "13.0", true),
            ("nvcr.io/nvidia/pytorch:26.09-py3", "13.4", true),
            ("nvcr.io/nvidia/pytorch:25.12-py3", "13.1", true),
            ("nvcr.io/nvidia/pytorch:23.07-py3", "12.1", true),
            ("nvcr.io/nvidia/pytorch:19.10-py3", "10.1", true),
            ("nvcr.io/nvidia/tensorflow:22.05-tf2-py3", "11.7", true),
            ("pytorch/pytorch:2.3.1-cuda12.1-cudnn8-devel", "12.1", true),
            ("pytorch/pytorch:2.3.1-cuda12.1-cudnn8-runtime", "12.1", false),
            ("docker.io/pytorch/pytorch:1.9.0-cuda10.2-cudnn7-runtime", "10.2", false),
            ("tensorflow/tensorflow:2.15.0-gpu", "12.2", true),
            ("tensorflow/tensorflow:2.11.0-gpu-jupyter", "11.2", true),
            ("rapidsai/base:24.10-cuda12.5-py3.11", "12.5", true),
        ] {
            let expected = Brings { cuda: Cuda::parse(cuda).expect("a version"), compat };
            assert_eq!(of(image), Some(expected), "{image}");
        }
    }

    #[test]
    fn what_its_name_does_not_say_is_not_guessed() {
        for image in [
            "nvidia/cuda",
            "nvidia/cuda:latest",
            "nvcr.io/nvidia/pytorch:27.01-py3",
            "nvcr.io/nvidia/pytorch:17.05",
            "nvcr.io/nvidia/pytorch",
            "pytorch/pytorch:latest",
            "tensorflow/tensorflow:2.15.0",
            "tensorflow/tensorflow:latest-gpu",
            "tensorflow/tensorflow:2.99.0-gpu",
            "me/base:cuda",
            "localhost:5000/cuda12.4",
            "python:3.12",
            "scratch",
        ] {
            assert_eq!(of(image), None, "{image}");
        }
    }
}
