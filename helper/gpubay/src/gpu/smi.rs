//! What `nvidia-smi` tells of a machine whose driver can be asked in a container only. Pure.
//!
//! `-q -x` has everything but the UUIDs of slices, which `-L` has. Both are words of a program in a container: what does not
//! look as it must is left out. Processes are left out as well: their numbers there are no numbers here.

use gpubay_protocol::agent::is_gpu_uuid;

use super::Lack;
use super::inventory::{Gpu, Inventory, Memory, Slice};
use crate::quoting::printable;

/// A program's words beyond that are not shown.
const WORDS: usize = 200;
/// More than any machine has.
const MOST: usize = 64;

/// The text of the first element `tag` in `xml`.
fn element<'a>(xml: &'a str, tag: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{tag}>"))?;
    Some(rest.split_once(&format!("</{tag}>"))?.0.trim())
}

/// A value that is told: not `N/A`, `[Unknown Error]` and their like.
fn told<'a>(xml: &'a str, tag: &str) -> Option<&'a str> {
    element(xml, tag).filter(|text| !text.is_empty() && *text != "N/A" && !text.contains(['[', '<', '&']))
}

/// `37 %`, `54 C`, `71.20 W`
fn number(xml: &str, tag: &str) -> Option<f64> {
    let value: f64 = told(xml, tag)?.split_whitespace().next()?.parse().ok()?;
    (0.0..1e9).contains(&value).then_some(value)
}

fn memory(xml: &str) -> Option<Memory> {
    let memory = element(xml, "fb_memory_usage")?;
    let bytes = |tag| Some((number(memory, tag)? as u64) << 20);
    Some(Memory { used: bytes("used")?, total: bytes("total")? })
}

/// What it told, or why it told nothing of GPUs. `list`: what `-L` printed.
///
/// # Errors
/// [`Lack`], where `query` is no answer.
pub(crate) fn read(query: &str, list: &str) -> Result<Inventory, Lack> {
    let Some((head, body)) = query.split_once("<nvidia_smi_log>") else { return Err(lack(query)) };
    if !head.trim_start().starts_with("<?xml") || !body.contains("</nvidia_smi_log>") {
        return Err(lack(query));
    }
    let version = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let cuda = told(body, "cuda_version").and_then(|text| {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    let gpus = body.split("<gpu id=").skip(1).take(MOST).enumerate();
    Ok(Inventory {
        driver: told(body, "driver_version").filter(version).map(str::to_owned),
        cuda,
        gpus: gpus.map(|(index, xml)| gpu(index as u32, xml, list)).collect(),
    })
}

fn gpu(index: u32, xml: &str, list: &str) -> Gpu {
    let (own, slices) = match (xml.find("<mig_devices>"), xml.find("</mig_devices>")) {
        (Some(from), Some(to)) if from < to => (format!("{}{}", &xml[..from], &xml[to..]), &xml[from..to]),
        _ => (xml.to_owned(), ""),
    };
    let own = own.as_str();
    let uuid = told(own, "uuid").filter(|uuid| is_gpu_uuid(uuid));
    let mode = |tag| Some(element(own, tag)? == "Enabled");
    let mig = mode("current_mig").unwrap_or(false);
    let power = ["gpu_power_readings", "power_readings"].iter().find_map(|tag| element(own, tag)).unwrap_or("");
    let milliwatts = |tags: &[&str]| tags.iter().find_map(|tag| number(power, tag)).map(|watts| (watts * 1e3) as u32);
    let found = slices_of(index, slices, list);
    let trouble = match uuid {
        None => {
            let said = element(own, "uuid").or_else(|| element(own, "product_name")).unwrap_or("nothing");
            Some(format!("the driver says of it: {}", short(said)))
        }
        Some(_) if mig && found.is_empty() => Some("it is to be divided (MIG) and has no slice".to_owned()),
        Some(_) => None,
    };
    Gpu {
        uuid: uuid.unwrap_or_default().to_owned(),
        index,
        minor: number(own, "minor_number").map(|minor| minor as u32),
        name: told(own, "product_name").map(short).unwrap_or_default(),
        brand: told(own, "product_brand").map(|brand| brand.to_lowercase().replace(' ', "")),
        memory: memory(own),
        utilization: number(own, "gpu_util").map(|percent| percent as u32),
        temperature: number(own, "gpu_temp").map(|degrees| degrees as u32),
        power: milliwatts(&["power_draw", "instant_power_draw", "average_power_draw"])
            .map(|draw| (draw, milliwatts(&["enforced_power_limit", "current_power_limit", "power_limit"]))),
        mig,
        mig_pending: mode("pending_mig").filter(|pending| *pending != mig),
        slices: found,
        processes: Vec::new(),
        trouble,
    }
}

/// `  MIG 1g.10gb     Device  0: (UUID: MIG-…)` below `GPU 1: …`: place, profile, UUID.
fn listed(gpu: u32, list: &str) -> Vec<(u32, String, String)> {
    let mut here = false;
    let mut found = Vec::new();
    for line in list.lines() {
        if let Some(rest) = line.strip_prefix("GPU ") {
            here = rest.split(':').next().and_then(|index| index.parse().ok()) == Some(gpu);
        } else if here && let Some(rest) = line.trim_start().strip_prefix("MIG ") {
            let slice = || {
                let (profile, rest) = rest.split_once(" Device ")?;
                let (index, rest) = rest.split_once(':')?;
                let uuid = rest.split_once("(UUID: ")?.1.split(')').next()?;
                let plain =
                    |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+-".contains(&byte));
                let profile = Some(profile.trim()).filter(|profile| plain(profile) && profile.len() < 32)?;
                Some((index.trim().parse().ok()?, profile.to_owned(), uuid.to_owned()))
            };
            found.extend(slice().filter(|(_, _, uuid)| is_gpu_uuid(uuid)));
        }
    }
    found.truncate(MOST);
    found
}

fn slices_of(gpu: u32, xml: &str, list: &str) -> Vec<Slice> {
    let memories: Vec<(u32, Option<Memory>)> = xml
        .split("<mig_device>")
        .skip(1)
        .filter_map(|slice| Some((number(slice, "index")? as u32, memory(slice))))
        .collect();
    let slice = |(index, profile, uuid)| Slice {
        uuid,
        index,
        profile: Some(profile),
        memory: memories.iter().find(|(known, _)| *known == index).and_then(|(_, memory)| *memory),
        processes: Vec::new(),
    };
    listed(gpu, list).into_iter().map(slice).collect()
}

fn short(text: &str) -> String {
    printable(text.trim()).chars().take(WORDS).collect()
}

/// Whether it is the driver that speaks, and would say the same in another image.
pub(crate) fn is_the_drivers(lack: &Lack) -> bool {
    !matches!(lack, Lack::NoImage(_))
}

/// In the words that `nvidia-smi` has for it. What is no word of its own did not run.
fn lack(said: &str) -> Lack {
    if said.contains("Driver/library version mismatch") {
        return Lack::Mismatch;
    }
    // Ours, of what it did.
    if said.contains("did not answer within") {
        return Lack::Silent;
    }
    if said.contains("Insufficient Permissions") {
        return Lack::NoPermission;
    }
    if said.contains("couldn't communicate with the NVIDIA driver") || said.contains("Driver Not Loaded") {
        return Lack::NotLoaded;
    }
    if said.contains("Failed to initialize NVML") || said.contains("Unable to determine the device handle") {
        return Lack::Other(short(said));
    }
    let said = short(said);
    Lack::NoImage(if said.is_empty() { "it says nothing".to_owned() } else { said })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As drivers 535 to 580 write it, what nobody reads left out.
    const QUERY: &str = r#"<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
	<driver_version>550.54.15</driver_version>
	<cuda_version>12.4</cuda_version>
	<attached_gpus>3</attached_gpus>
	<gpu id="00000000:01:00.0">
		<product_name>NVIDIA RTX A6000</product_name>
		<product_brand>NVIDIA RTX</product_brand>
		<mig_mode>
			<current_mig>N/A</current_mig>
			<pending_mig>N/A</pending_mig>
		</mig_mode>
		<mig_devices>
			None
		</mig_devices>
		<uuid>GPU-11111111-2222-3333-4444-000000000000</uuid>
		<minor_number>1</minor_number>
		<fb_memory_usage>
			<total>49140 MiB</total>
			<reserved>600 MiB</reserved>
			<used>1024 MiB</used>
			<free>47516 MiB</free>
		</fb_memory_usage>
		<bar1_memory_usage>
			<total>256 MiB</total>
			<used>5 MiB</used>
		</bar1_memory_usage>
		<utilization>
			<gpu_util>37 %</gpu_util>
		</utilization>
		<temperature>
			<gpu_temp>54 C</gpu_temp>
		</temperature>
		<gpu_power_readings>
			<power_draw>71.25 W</power_draw>
			<current_power_limit>300.00 W</current_power_limit>
		</gpu_power_readings>
		<module_power_readings>
			<power_draw>N/A</power_draw>
		</module_power_readings>
		<processes>
			<process_info>
				<pid>4711</pid>
				<used_memory>900 MiB</used_memory>
			</process_info>
		</processes>
	</gpu>
	<gpu id="00000000:41:00.0">
		<product_name>NVIDIA H100 80GB HBM3</product_name>
		<product_brand>NVIDIA</product_brand>
		<mig_mode>
			<current_mig>Enabled</current_mig>
			<pending_mig>Disabled</pending_mig>
		</mig_mode>
		<mig_devices>
			<mig_device>
				<index>0</index>
				<gpu_instance_id>9</gpu_instance_id>
				<compute_instance_id>0</compute_instance_id>
				<fb_memory_usage>
					<total>9856 MiB</total>
					<used>12 MiB</used>
				</fb_memory_usage>
			</mig_device>
			<mig_device>
				<index>1</index>
				<fb_memory_usage>
					<total>9856 MiB</total>
					<used>13 MiB</used>
				</fb_memory_usage>
			</mig_device>
		</mig_devices>
		<uuid>GPU-11111111-2222-3333-4444-000000000001</uuid>
		<minor_number>0</minor_number>
		<fb_memory_usage>
			<total>81559 MiB</total>
			<used>45 MiB</used>
		</fb_memory_usage>
		<utilization>
			<gpu_util>N/A</gpu_util>
		</utilization>
		<gpu_power_readings>
			<average_power_draw>N/A</average_power_draw>
			<instant_power_draw>68.10 W</instant_power_draw>
			<current_power_limit>700.00 W</current_power_limit>
		</gpu_power_readings>
	</gpu>
	<gpu id="00000000:C1:00.0">
		<product_name>[Unknown Error]</product_name>
		<uuid>[GPU is lost]</uuid>
	</gpu>
</nvidia_smi_log>
"#;
    const LIST: &str = "GPU 0: NVIDIA RTX A6000 (UUID: GPU-11111111-2222-3333-4444-000000000000)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-11111111-2222-3333-4444-000000000001)
  MIG 1g.10gb     Device  0: (UUID: MIG-aaaaaaaa-2222-3333-4444-000000000000)
  MIG 1g.10gb     Device  1: (UUID: MIG-aaaaaaaa-2222-3333-4444-000000000001)
";

    #[test]
    fn everything_that_an_inventory_has_is_read() {
        let told = read(QUERY, LIST).expect("an answer");
        assert_eq!((told.driver.as_deref(), told.cuda), (Some("550.54.15"), Some((12, 4))));
        let [whole, divided, lost] = told.gpus.as_slice() else { panic!("{told:?}") };
        let expected = Gpu {
            uuid: "GPU-11111111-2222-3333-4444-000000000000".to_owned(),
            index: 0,
            minor: Some(1),
            name: "NVIDIA RTX A6000".to_owned(),
            brand: Some("nvidiartx".to_owned()),
            memory: Some(Memory { used: 1 << 30, total: 49140 << 20 }),
            utilization: Some(37),
            temperature: Some(54),
            power: Some((71_250, Some(300_000))),
            ..Gpu::default()
        };
        assert_eq!(*whole, expected);
        assert_eq!(
            (divided.mig, divided.mig_pending, divided.power),
            (true, Some(false), Some((68_100, Some(700_000))))
        );
        assert_eq!(divided.memory, Some(Memory { used: 45 << 20, total: 81559 << 20 }));
        let slices: Vec<_> = divided.slices.iter().map(|s| (s.index, s.profile.as_deref(), s.memory)).collect();
        let of = |used: u64| Some(Memory { used: used << 20, total: 9856 << 20 });
        assert_eq!(slices, [(0, Some("1g.10gb"), of(12)), (1, Some("1g.10gb"), of(13))]);
        assert_eq!(divided.slices[1].uuid, "MIG-aaaaaaaa-2222-3333-4444-000000000001");
        assert_eq!((lost.uuid.as_str(), lost.index), ("", 2));
        assert!(lost.trouble.as_deref().is_some_and(|trouble| trouble.contains("GPU is lost")), "{lost:?}");
    }

    #[test]
    fn what_is_no_answer_is_told_apart() {
        for (said, is) in [
            (
                "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.65",
                Lack::Mismatch,
            ),
            ("Failed to initialize NVML: Insufficient Permissions", Lack::NoPermission),
            (
                "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest",
                Lack::NotLoaded,
            ),
            (
                "Failed to initialize NVML: Unknown Error",
                Lack::Other("Failed to initialize NVML: Unknown Error".to_owned()),
            ),
        ] {
            assert_eq!(read(said, ""), Err(is.clone()), "{said}");
            assert!(is_the_drivers(&is));
        }
        for said in ["", "exec: \"nvidia-smi\": executable file not found in $PATH", "<nvidia_smi_log>", &QUERY[..900]]
        {
            let lack = read(said, "").expect_err("no answer");
            assert!(!is_the_drivers(&lack), "{lack:?}");
        }
    }

    #[test]
    fn a_program_that_lies_says_nothing_that_would_be_shown_as_it_is() {
        let query = "<?xml version=\"1.0\" ?><nvidia_smi_log><driver_version>1.\u{1b}[2J</driver_version><gpu id=\"0\">\
                     <product_name>\u{1b}[2J</product_name><uuid>GPU-$(x)</uuid><fb_memory_usage><total>-5 MiB</total>\
                     <used>1e300 MiB</used></fb_memory_usage></gpu></nvidia_smi_log>";
        let told = read(query, "GPU 0: x\n  MIG $(y) Device 0: (UUID: MIG-$(x))\n").expect("an answer");
        assert_eq!(told.driver, None);
        let gpu = &told.gpus[0];
        assert_eq!((gpu.uuid.as_str(), gpu.memory, gpu.slices.len()), ("", None, 0));
        assert!(!format!("{}{:?}", gpu.name, gpu.trouble).contains('\u{1b}'), "{gpu:?}");
    }
}
