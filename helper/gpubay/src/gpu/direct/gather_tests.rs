use std::os::unix::fs::symlink;

use super::*;

/// A made-up machine: its nodes are links to a harmless device, its libraries are empty.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().expect("a folder"));
        for node in ["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-caps/nvidia-cap12", "tty0"] {
            machine.link("/dev/null", &format!("dev/{node}"));
        }
        machine.write("dev/nvidia-text", "no device");
        machine.write("etc/group", "root:x:0:\nvideo:x:44:ada\n");
        machine.write("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun\n");
        machine.write("proc/driver/nvidia/gpus/0000:81:00.0/information", &information(0, "GPU-aa"));
        machine.write("proc/driver/nvidia/gpus/0000:01:00.0/information", &information(1, "GPU-bb"));
        machine.write("proc/driver/nvidia-caps/mig-minors", "config 1\ngpu0/gi1/access 12\n");
        // As Debian has it: links by links to a folder of its own.
        let current = "usr/lib/x86_64-linux-gnu/nvidia/current";
        for name in ["libcuda.so.580.65.06", "libnvidia-ml.so.580.65.06"] {
            machine.write(&format!("{current}/{name}"), "");
        }
        machine.link("libcuda.so.580.65.06", &format!("{current}/libcuda.so.1"));
        machine.link("/usr/lib/x86_64-linux-gnu/nvidia/current/libcuda.so.1", "etc/alternatives/libcuda.so.1");
        machine.link("/etc/alternatives/libcuda.so.1", "usr/lib/x86_64-linux-gnu/libcuda.so.1");
        // On some machines that is a script, which calls the program where a container has none.
        machine.write("usr/bin/nvidia-smi", "#!/bin/sh");
        machine.write("usr/local/nvidia/bin/nvidia-smi", "\x7fELF");
        machine
    }

    fn path(&self, path: &str) -> PathBuf {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        path
    }

    fn write(&self, path: &str, text: &str) {
        std::fs::write(self.path(path), text).expect("written");
    }

    fn link(&self, target: &str, path: &str) {
        symlink(target, self.path(path)).expect("linked");
    }
}

fn information(minor: u32, uuid: &str) -> String {
    format!("Model: \t\t NVIDIA H100\nGPU UUID: \t {uuid}\nBus Location: \t 0000:81:00.0\nDevice Minor: \t {minor}\n")
}

#[test]
fn a_machine_is_read_as_it_lies() {
    let machine = Machine::new();
    let found = facts(machine.0.path(), false);
    let names: Vec<&str> = found.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["nvidia-uvm", "nvidia0", "nvidia1", "nvidiactl", "nvidia-caps/nvidia-cap12"]);
    let first = &found.nodes[1];
    assert_eq!((first.path.clone(), first.mode, first.uid), (machine.0.path().join("dev/nvidia0"), 0o666, 0));
    assert_eq!(first.group.as_deref(), Some("root"));
    assert_eq!(found.kernel.as_deref(), Some("580.65.06"));
    let cards: Vec<_> = found.cards.iter().map(|card| (card.minor, card.uuid.as_deref())).collect();
    assert_eq!(cards, [(1, Some("GPU-bb")), (0, Some("GPU-aa"))], "by their places");
    assert_eq!(found.capabilities.len(), 1);
    assert_eq!((found.smi, found.wsl), (Some(machine.0.path().join("usr/local/nvidia/bin/nvidia-smi")), Vec::new()));
    // No linker's cache is there: the usual places tell.
    let folder = machine.0.path().join("usr/lib/x86_64-linux-gnu/nvidia/current");
    assert_eq!(found.folders.iter().map(|folder| folder.path.clone()).collect::<Vec<_>>(), [folder]);
}

#[test]
fn links_are_followed_below_the_root() {
    let machine = Machine::new();
    let root = machine.0.path();
    let led = resolved(root, &root.join("usr/lib/x86_64-linux-gnu/libcuda.so.1"));
    assert_eq!(led, root.join("usr/lib/x86_64-linux-gnu/nvidia/current/libcuda.so.580.65.06"));
    assert_eq!(resolved(root, &root.join("not/there")), root.join("not/there"));
}

#[test]
fn wsl_has_one_node_and_folders_of_windows() {
    let machine = Machine(tempfile::tempdir().expect("a folder"));
    machine.link("/dev/null", "dev/dxg");
    assert_eq!(facts(machine.0.path(), false).wsl, Vec::new(), "no NVIDIA driver in Windows");
    machine.write("usr/lib/wsl/lib/libcuda.so.1", "");
    machine.write("usr/lib/wsl/lib/nvidia-smi", "");
    machine.write("usr/lib/wsl/drivers/nv_dispi.inf_amd64/libcuda.so.1.1", "");
    let found = facts(machine.0.path(), false);
    let inside: Vec<&str> = found.wsl.iter().map(|(_, inside)| inside.as_str()).collect();
    assert_eq!(inside, ["/usr/lib/wsl/lib", "/usr/lib/wsl/drivers"]);
    assert!(found.smi.is_some_and(|smi| smi.ends_with("usr/lib/wsl/lib/nvidia-smi")));
}

#[test]
fn a_machine_without_a_driver_has_nothing() {
    let empty = tempfile::tempdir().expect("a folder");
    assert_eq!(facts(empty.path(), true), Facts::default());
}

#[test]
fn the_linker_of_this_machine_is_understood() {
    let Some(ldconfig) = LDCONFIG.iter().find(|path| Path::new(path).exists()) else { return };
    let listed = said(ldconfig.as_ref(), &["-p".as_ref()], LDCONFIG_LIMIT);
    assert!(text::in_the_cache(&listed, "libc.so.6").iter().all(|path| path.exists()));
    assert!(!text::in_the_cache(&listed, "libc.so.6").is_empty(), "{listed}");
}

#[test]
fn a_program_that_does_not_end_is_given_up() {
    let begun = std::time::Instant::now();
    let text =
        said("/bin/sh".as_ref(), &["-c".as_ref(), "echo begun; exec sleep 1000".as_ref()], Duration::from_millis(200));
    assert!(text.is_empty() && begun.elapsed() < Duration::from_secs(20), "{text}");
    assert_eq!(said("/bin/echo".as_ref(), &["told".as_ref()], SMI_LIMIT), "told\n");
    assert_eq!(said("/bin/sh".as_ref(), &["-c".as_ref(), "echo told; exit 1".as_ref()], SMI_LIMIT), "");
}

#[test]
fn only_what_is_roots_or_ones_own_is_run() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("nvidia-smi");
    std::fs::write(&program, "").expect("written");
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("changed");
    };
    mode(&program, 0o755);
    assert!(is_trusted(&program) && is_trusted(Path::new("/bin/sh")));
    mode(&program, 0o777);
    assert!(!is_trusted(&program), "all may write it");
    mode(&program, 0o755);
    mode(folder.path(), 0o777);
    assert!(!is_trusted(&program), "all may exchange it");
    mode(folder.path(), 0o1777);
    assert!(is_trusted(&program), "nobody may exchange it");
    assert!(!is_trusted(&folder.path().join("none")));
}
