//! What the driver tells of the GPUs of a machine: how much memory, how busy, who is on them.
//!
//! Plain data: where it comes from is the business of whoever fills it.

/// Everything that a driver told at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Of the driver: `580.65.06`.
    pub driver: Option<String>,
    /// The newest CUDA that the driver runs: major and minor.
    pub cuda: Option<(u32, u32)>,
    /// By index.
    pub gpus: Vec<Gpu>,
}

impl Inventory {
    /// `13.0`
    pub fn cuda_version(&self) -> Option<String> {
        self.cuda.map(|(major, minor)| format!("{major}.{minor}"))
    }

    /// What a user should know of it besides the trouble of a GPU: a fragment, and the next step.
    pub fn remark(&self) -> Option<(String, String)> {
        if self.gpus.is_empty() {
            let next = "`lspci` tells whether the machine sees one, `dmesg` why the driver does not.";
            return Some(("the NVIDIA driver runs and has no GPU".to_owned(), next.to_owned()));
        }
        let switched = |gpu: &Gpu| {
            let to = if gpu.mig_pending? { "divided (MIG)" } else { "whole again (no MIG)" };
            Some(format!("GPU {} is to be {to}", gpu.index))
        };
        let said: Vec<String> = self.gpus.iter().filter_map(switched).collect();
        let next = "That waits for a reset: end what runs there, then `nvidia-smi --gpu-reset`, or reboot.";
        (!said.is_empty()).then(|| (said.join(", "), next.to_owned()))
    }
}

/// One GPU. What the driver does not tell of it is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gpu {
    /// `GPU-…`; empty where the driver has lost it.
    pub uuid: String,
    /// NVML's index, by PCI place: what CUDA counts with `CUDA_DEVICE_ORDER=PCI_BUS_ID`.
    pub index: u32,
    /// Of its device node `/dev/nvidia<minor>`.
    pub minor: Option<u32>,
    pub name: String,
    /// What it is sold as, in the words of images that require one: `tesla`, `geforce`.
    pub brand: Option<String>,
    pub memory: Option<Memory>,
    /// Percent of the driver's last sample in which something ran.
    pub utilization: Option<u32>,
    /// Degrees Celsius.
    pub temperature: Option<u32>,
    /// Milliwatts, and the limit that is enforced.
    pub power: Option<(u32, Option<u32>)>,
    /// Whether it is divided: then only its slices can be used.
    pub mig: bool,
    /// What that is to become with the GPU's next reset, where it is to change.
    pub mig_pending: Option<bool>,
    pub slices: Vec<Slice>,
    pub processes: Vec<Process>,
    /// Why it cannot be used, in the driver's words.
    pub trouble: Option<String>,
}

/// A MIG slice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// `MIG-…`
    pub uuid: String,
    /// Its place in its GPU, as in the CDI name `0:1`.
    pub index: u32,
    /// `1g.10gb`
    pub profile: Option<String>,
    pub memory: Option<Memory>,
    pub processes: Vec<Process>,
}

/// In bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub used: u64,
    pub total: u64,
}

/// A process that has a context on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// As the host counts.
    pub pid: u32,
    /// Bytes; not told on Windows' driver model.
    pub memory: Option<u64>,
}
