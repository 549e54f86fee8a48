//! An image's name, taken apart as every engine does it.

/// Docker's own registry, as it is asked.
pub const HUB: &str = "registry-1.docker.io";

/// Where an image is, with all that is usually left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// With its port, where one is named.
    pub host: String,
    pub repository: String,
    /// A tag or a digest.
    pub reference: String,
}

impl Name {
    /// `None` for what is none.
    pub fn parse(image: &str) -> Option<Self> {
        let (host, rest) = split(image);
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (rest, None),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        let plain = |text: &str, more: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        let fits = path.split('/').all(|part| plain(part, "._-") && !part.starts_with('.'))
            && path.len() <= 255
            && plain(host, ".-:[]")
            && tag.is_none_or(|tag| plain(tag, "._-") && tag.len() <= 128)
            && digest.is_none_or(is_digest);
        if !fits {
            return None;
        }
        let bare = host == HUB && !path.contains('/');
        let repository = if bare { format!("library/{path}") } else { path.to_owned() };
        Some(Self { host: host.to_owned(), repository, reference: digest.or(tag).unwrap_or("latest").to_owned() })
    }
}

/// The registry, and the rest: a first part with a dot, a port, or that is this machine.
fn split(image: &str) -> (&str, &str) {
    match image.split_once('/') {
        Some(("docker.io" | "index.docker.io", rest)) => (HUB, rest),
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
        _ => (HUB, image),
    }
}

/// The registry of an image, whatever the rest of its name is.
pub fn host_of(image: &str) -> &str {
    split(image).0
}

/// `sha256:…`, in a form that can be part of an address.
pub(super) fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(kind, hash)| {
        kind.chars().all(|c| c.is_ascii_alphanumeric() || "+._-".contains(c))
            && (32..=256).contains(&hash.len())
            && hash.chars().all(|c| c.is_ascii_hexdigit())
    })
}
