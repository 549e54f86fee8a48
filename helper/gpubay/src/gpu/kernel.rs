//! What the kernel's part of the driver tells without its library.

use std::path::Path;

use super::direct::version;

const VERSION: &str = "/proc/driver/nvidia/version";

/// The version of the driver that this machine's kernel runs; `None`: it runs none.
pub(crate) fn driver_version() -> Option<String> {
    read(Path::new(VERSION))
}

fn read(file: &Path) -> Option<String> {
    let text = crate::files::read(file, crate::files::SMALL).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    Some(version(&text).unwrap_or("of an unknown version").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_says_its_version() {
        let place = tempfile::tempdir().expect("a folder");
        let file = place.path().join("version");
        assert_eq!(read(&file), None);
        let text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23 10:11:16 UTC 2025\n";
        std::fs::write(&file, text).expect("written");
        assert_eq!(read(&file).as_deref(), Some("580.95.05"));
        let text = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.1  Release\nGCC version:  12.2.0\n";
        std::fs::write(&file, text).expect("written");
        assert_eq!(read(&file).as_deref(), Some("570.1"));
    }
}
