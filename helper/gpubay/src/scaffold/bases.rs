//! The images that `gpubay init` starts from: the one list of them. docs/decisions/0011 says where the tags come from.

/// Also what a folder with nothing but a `requirements.txt` is built on.
pub const PYTHON: &str = "python:3.12-slim";
const NGC_PYTORCH: &str = "nvcr.io/nvidia/pytorch:26.09-py3";
const CUDA: &str = "nvidia/cuda:13.4.2-cudnn-devel-ubuntu24.04";
/// What `cuda-conda` takes `/opt/conda` from.
pub(super) const MINIFORGE: &str = "condaforge/miniforge3:26.7.2-0";

/// A base with all that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    NgcPytorch,
    Cuda,
    CudaConda,
    Python,
}

impl Preset {
    pub const ALL: [Self; 4] = [Self::NgcPytorch, Self::Cuda, Self::CudaConda, Self::Python];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::NgcPytorch => "ngc-pytorch",
            Self::Cuda => "cuda",
            Self::CudaConda => "cuda-conda",
            Self::Python => "python",
        }
    }

    pub fn image(self) -> &'static str {
        match self {
            Self::NgcPytorch => NGC_PYTORCH,
            Self::Cuda | Self::CudaConda => CUDA,
            Self::Python => PYTHON,
        }
    }

    /// For whoever has to choose.
    pub fn about(self) -> &'static str {
        match self {
            Self::NgcPytorch => "NVIDIA's PyTorch with everything for it",
            Self::Cuda => "CUDA with its compiler, and Ubuntu's Python",
            Self::CudaConda => "CUDA with its compiler, and conda",
            Self::Python => "Python and nothing else; the CPU, or wheels that bring CUDA",
        }
    }

    /// Another image whose layers are taken over, too.
    pub fn also(self) -> Option<&'static str> {
        (self == Self::CudaConda).then_some(MINIFORGE)
    }
}
