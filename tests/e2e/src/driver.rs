//! A driver with GPUs, as far as a program sees one that loads its library: the fake of the lab (tests/lab/nvml).

use std::path::{Path, PathBuf};

use crate::Bench;

/// The driver of a bench's machine, for the commands of its user alone.
#[derive(Debug)]
pub struct Driver {
    scenario: PathBuf,
}

impl Driver {
    /// With the two GPUs that the engines offer, and `more` about them: see [`Driver::gpu`].
    pub fn of(bench: &mut Bench, more: [&str; 2]) -> Self {
        let library = std::env::var("GPUBAY_TEST_NVML")
            .unwrap_or_else(|_| panic!("GPUBAY_TEST_NVML is not set: run these tests through `make test`"));
        let driver = Self { scenario: bench.outside().join("driver") };
        bench.env.push(("LD_LIBRARY_PATH".to_owned(), PathBuf::from(library)));
        bench.env.push(("GPUBAY_FAKE_NVML".to_owned(), driver.scenario.clone()));
        driver.tells(&[Self::gpu(0, more[0]), Self::gpu(1, more[1])].concat());
        driver
    }

    /// A GPU of 24 GiB that rests, unless `more` says something else of it.
    pub fn gpu(index: u32, more: &str) -> String {
        let uuid = Self::uuid(index);
        format!(
            "[gpu]\nuuid = {uuid}\nname = GPU Bay Fake 24G\nmemory = 576 / 24576\ntemperature = 31\npower = 22 / 300\n{more}\n"
        )
    }

    /// As the engines' CDI specification has it.
    pub fn uuid(index: u32) -> String {
        format!("GPU-11111111-2222-3333-4444-{index:012}")
    }

    /// From now on. `gpus` may begin with what concerns all of them.
    pub fn tells(&self, gpus: &str) {
        self.write(&format!("driver = 580.65.06\ncuda = 13000\n{gpus}"));
    }

    /// With what concerns the machine as well.
    pub fn tells_all(&self, scenario: &str) {
        self.write(scenario);
    }

    /// Readers see the old or the new, and nothing between.
    fn write(&self, text: &str) {
        let aside = self.scenario.with_extension("new");
        std::fs::write(&aside, text).expect("written");
        std::fs::rename(&aside, &self.scenario).expect("renamed");
    }

    pub fn scenario(&self) -> &Path {
        &self.scenario
    }
}

/// A root folder in which a driver is installed, for the commands of a bench's user: the lab's fake libraries
/// (tests/lab/driver), harmless devices for nodes, and what a kernel would tell. The second node is the first GPU's.
#[derive(Debug)]
pub struct Machine {
    root: PathBuf,
    pub driver: Driver,
}

impl Machine {
    /// With the two GPUs of the lab.
    pub fn of(bench: &mut Bench) -> Self {
        let installed = std::env::var("GPUBAY_TEST_DRIVER")
            .unwrap_or_else(|_| panic!("GPUBAY_TEST_DRIVER is not set: run these tests through `make test`"));
        let numbered = |minor| format!("uuid = {}\nminor = {minor}", Driver::uuid(minor));
        let driver = Driver::of(bench, [&numbered(1), &numbered(0)]);
        let machine = Self { root: bench.outside().join("machine"), driver };
        copy(Path::new(&installed), &machine.root);
        for name in ["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"] {
            machine.node(name, 0o666);
        }
        machine.kernel("580.65.06");
        bench.env.push(("GPUBAY_DRIVER_ROOT".to_owned(), machine.root.clone()));
        machine
    }

    /// Of the GPU that the driver counts so.
    pub fn uuid(index: u32) -> String {
        Driver::uuid(1 - index)
    }

    /// Makes a node, another way where it is there: whoever opens it writes into nothing.
    pub fn node(&self, name: &str, mode: u32) {
        use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
        let path = self.path(&format!("dev/{name}"));
        let _ = std::fs::remove_file(&path);
        mknodat(CWD, &path, FileType::CharacterDevice, Mode::empty(), makedev(1, 3))
            .expect("a device node, which takes root");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("opened");
    }

    /// The version of the driver that runs.
    pub fn kernel(&self, version: &str) {
        let text = format!("NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Sun Jul 27 07:14:03 UTC 2025\n");
        std::fs::write(self.path("proc/driver/nvidia/version"), text).expect("written");
    }

    pub fn path(&self, path: &str) -> PathBuf {
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        path
    }

    pub fn library(&self, name: &str) -> PathBuf {
        self.path(&format!("usr/lib/x86_64-linux-gnu/{name}"))
    }

    /// Another version of the driver takes the place of the one that is installed.
    pub fn updated(&self, from: &str, to: &str) {
        let folder = self.path("usr/lib/x86_64-linux-gnu/x");
        for entry in
            std::fs::read_dir(folder.parent().expect("a parent")).expect("listed").map(|entry| entry.expect("one"))
        {
            let name = entry.file_name().into_string().expect("text");
            if let Some(stem) = name.strip_suffix(from) {
                std::fs::rename(entry.path(), self.library(&format!("{stem}{to}"))).expect("renamed");
            } else if let Ok(target) = std::fs::read_link(entry.path())
                && let Some(stem) = target.to_string_lossy().strip_suffix(from)
            {
                std::fs::remove_file(entry.path()).expect("removed");
                std::os::unix::fs::symlink(format!("{stem}{to}"), entry.path()).expect("linked");
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("listed").map(|entry| entry.expect("one")) {
        let to = to.join(entry.file_name());
        match entry.file_type().expect("known") {
            kind if kind.is_dir() => copy(&entry.path(), &to),
            kind if kind.is_symlink() => {
                std::os::unix::fs::symlink(std::fs::read_link(entry.path()).expect("a link"), &to).expect("linked");
            }
            _ => drop(std::fs::copy(entry.path(), &to).expect("copied")),
        }
    }
}
