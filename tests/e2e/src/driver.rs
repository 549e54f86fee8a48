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
