//! Selections of GPUs as people write them. Pure.

use super::error::BadValue;
use super::file;
use super::model::{GpuCount, GpuSelection};
use super::values::size_entry;

/// A selection as it is typed: `auto`, `all`, `none`, `2`, `device=0,1`, `GPU-…,GPU-…`, `count=1,min_free=20g,name=H100`.
pub(super) fn gpus(text: &str) -> Result<GpuSelection, BadValue> {
    let text = text.trim();
    match text {
        "" => Err(BadValue::Gpus { given: String::new(), why: "nothing is named".to_owned() }),
        "auto" => Ok(GpuSelection::Auto),
        "all" => Ok(GpuSelection::All),
        "none" => Ok(GpuSelection::None),
        _ => {
            if is_number(text) {
                return gpu_count(text);
            }
            // As in gpubay.toml.
            if text.starts_with('[') {
                return match serde_json::from_str::<file::GpuUse>(text) {
                    Ok(list) => gpu_use(&list),
                    Err(_) => {
                        Err(BadValue::Gpus { given: text.to_owned(), why: "the list is not well-formed".to_owned() })
                    }
                };
            }
            let bad = |why: &str| BadValue::Gpus { given: text.to_owned(), why: why.to_owned() };
            // The engine's own tool wants the list in quotes of its own, since it reads CSV.
            let list = match (text.strip_prefix('"'), text.strip_suffix('"')) {
                (Some(_), Some(_)) if text.len() > 1 => &text[1..text.len() - 1],
                (None, None) => text,
                _ => return Err(bad("its quotes are not balanced")),
            };
            let is_key = |word: &str| GPU_KEYS.iter().any(|key| word.trim().starts_with(&format!("{key}=")));
            let is_name = |word: &str| {
                let word = word.trim();
                word.starts_with("device=") || !word.contains('=') && !GPU_KEYS.contains(&word)
            };
            match list.strip_prefix("device=") {
                _ if list.split(',').any(is_key) && list.split(',').any(is_name) => {
                    Err(bad("names of GPUs and what they are to be like are two forms, and one is enough"))
                }
                Some(names) => gpu_names(names.split(',').map(|name| {
                    let name = name.trim();
                    name.strip_prefix("device=").unwrap_or(name)
                })),
                None if list.split(',').any(is_key) => gpu_keys(list).map_err(|why| match why {
                    Ok(why) => bad(&why),
                    Err(bad) => bad,
                }),
                None => gpu_names(list.split(',').map(str::trim)),
            }
        }
    }
}

pub(super) fn gpu_use(select: &file::GpuUse) -> Result<GpuSelection, BadValue> {
    match select {
        file::GpuUse::Text(text) => gpus(text),
        file::GpuUse::Count(count) => gpu_count(&count.to_string()),
        file::GpuUse::Named(list) => {
            let list: Vec<String> = list
                .iter()
                .map(|name| match name {
                    file::GpuName::Index(index) => index.to_string(),
                    file::GpuName::Text(text) => text.clone(),
                })
                .collect();
            gpu_names(list.iter().map(String::as_str))
        }
        file::GpuUse::Request(request) => {
            let min_free = request.min_free.as_ref().map(size_entry).transpose()?;
            let text = |value: &Option<String>, what| value.as_deref().map(|value| gpu_word(value, what)).transpose();
            let (name, mig) = (text(&request.name, "part of a GPU's name")?, text(&request.mig, "a MIG profile")?);
            let count = request.count.map_or(Ok(1), |count| count_of(&count.to_string()))?;
            Ok(GpuSelection::Count(GpuCount { count, min_free, name, mig }))
        }
    }
}

/// What `--gpus` takes besides a list, as the table of `[gpus] use` has it.
const GPU_KEYS: [&str; 4] = ["count", "min_free", "name", "mig"];

/// `count=1,min_free=20g,name=H100`
fn gpu_keys(text: &str) -> Result<GpuSelection, Result<String, BadValue>> {
    let mut wish = GpuCount::of(1);
    let mut seen = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (key, value) =
            part.split_once('=').ok_or_else(|| Ok(format!("`{part}` has no value, as in `{part}=…`")))?;
        if seen.contains(&key) {
            return Err(Ok(format!("{key} is said twice")));
        }
        seen.push(key);
        match key {
            "count" => {
                if !is_number(value) {
                    return Err(Ok(format!("{value:?} is no number")));
                }
                wish.count = count_of(value).map_err(Err)?;
            }
            "min_free" => wish.min_free = Some(size_entry(&file::Size::Text(value.to_owned())).map_err(Err)?),
            "name" => wish.name = Some(gpu_word(value, "part of a GPU's name").map_err(Err)?),
            "mig" => wish.mig = Some(gpu_word(value, "a MIG profile").map_err(Err)?),
            _ => return Err(Ok(format!("`{key}` is none of {}", GPU_KEYS.join(", ")))),
        }
    }
    Ok(GpuSelection::Count(wish))
}

/// As models and profiles are called; nothing that could not be written back into a list.
fn gpu_word(text: &str, what: &'static str) -> Result<String, BadValue> {
    let plain = |c: char| c.is_ascii_alphanumeric() || " .-_+/()".contains(c);
    let fits = !text.trim().is_empty() && text.len() <= 100 && text.chars().all(plain);
    if fits { Ok(text.trim().to_owned()) } else { Err(BadValue::Name { given: text.to_owned(), what }) }
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn gpu_count(count: &str) -> Result<GpuSelection, BadValue> {
    count_of(count).map(|count| GpuSelection::Count(GpuCount::of(count)))
}

fn count_of(count: &str) -> Result<u32, BadValue> {
    match count.parse() {
        Ok(number @ 1..=1024) => Ok(number),
        _ if count.trim_start_matches(['-', '+', '0']).is_empty() => Err(BadValue::NoGpus),
        _ if count.starts_with('-') => Err(BadValue::FewerThanNoGpus(count.to_owned())),
        _ => Err(BadValue::TooManyGpus(count.to_owned())),
    }
}

/// A list as `NVIDIA_VISIBLE_DEVICES` and `CUDA_VISIBLE_DEVICES` hold it.
pub(super) fn visible_devices(list: &str) -> Result<GpuSelection, BadValue> {
    match list.trim() {
        "all" => Ok(GpuSelection::All),
        "" | "none" | "void" | "-1" | "NoDevFiles" => Ok(GpuSelection::None),
        list => gpu_names(list.split(',').map(str::trim)),
    }
}

fn gpu_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<GpuSelection, BadValue> {
    let mut list: Vec<String> = Vec::new();
    for name in names {
        // As `gpubay gpus` names it, also among others.
        let name = name.strip_prefix("device=").unwrap_or(name);
        let bad = |why: &str| BadValue::Gpus { given: name.to_owned(), why: why.to_owned() };
        let known = name.split(':').count() <= 2
            && name.split(':').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
            || ["GPU-", "MIG-"].iter().any(|p| name.len() > p.len() && name.starts_with(p))
            || name.contains('=');
        if let Some((key, _)) = name.split_once('=').filter(|(key, _)| !key.contains('/')) {
            return Err(bad(&format!("`{key}` is none of device, {}", GPU_KEYS.join(", "))));
        }
        if ["auto", "all", "none"].contains(&name) {
            return Err(bad("it stands alone, and not in a list"));
        }
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/=".contains(&b));
        if name.is_empty() {
            return Err(bad("a name is empty"));
        }
        if let Some((first, last)) = name.split_once('-').filter(|(one, other)| is_number(one) && is_number(other)) {
            return Err(bad(&format!("a range is written as a list, from {first} to {last} each with a comma")));
        }
        if !plain || name.starts_with('-') || !known {
            // As programs inside call it, and people.
            let lower = name.to_lowercase();
            let number = ["cuda", "gpu", "device"].iter().find_map(|word| lower.strip_prefix(word));
            let number =
                number.map(|rest| rest.trim_start_matches([':', '-', ' ', '#'])).filter(|rest| is_number(rest));
            if let Some(number) = number {
                return Err(bad(&format!("did you mean `device={number}`?")));
            }
            let near = super::nearest(&lower, ["auto", "all", "none"].into_iter());
            return Err(bad(&near.map_or_else(
                || "it is no index, UUID or CDI name".to_owned(),
                |near| format!("did you mean `{near}`?"),
            )));
        }
        if list.iter().any(|other| other == name) {
            return Err(bad("it is named twice"));
        }
        list.push(name.to_owned());
    }
    // As the engine lists what is all of them.
    if list == ["nvidia.com/gpu=all"] {
        return Ok(GpuSelection::All);
    }
    if list.is_empty() { Ok(GpuSelection::None) } else { Ok(GpuSelection::Named(list)) }
}
