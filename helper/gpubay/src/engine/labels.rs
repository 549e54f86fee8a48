//! A container has the labels of its image besides those that it is made with, and no engine takes one away from it. So
//! a label without a value is none: that is how one of an image is taken back.

use std::collections::{BTreeMap, HashMap};

/// Takes back what the image has under names that begin like `prefix`, unless it is set here.
pub fn take_back(labels: &mut BTreeMap<String, String>, image: &BTreeMap<String, String>, prefix: &str) {
    for name in image.keys().filter(|name| name.starts_with(prefix)) {
        labels.entry(name.clone()).or_default();
    }
}

/// Those that a container has, as an engine tells them.
pub(super) fn of_container(labels: Option<HashMap<String, String>>) -> BTreeMap<String, String> {
    labels.unwrap_or_default().into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_back_is_not_told() {
        let of = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
        };
        let image = of(&[("ours.id", "theirs"), ("ours.role", "theirs"), ("other", "theirs")]);
        let mut labels = of(&[("ours.id", "mine")]);
        take_back(&mut labels, &image, "ours.");
        assert_eq!(labels, of(&[("ours.id", "mine"), ("ours.role", "")]));
        // As an engine puts the two together.
        let container: HashMap<String, String> = image.into_iter().chain(labels).collect();
        assert_eq!(of_container(Some(container)), of(&[("ours.id", "mine"), ("other", "theirs")]));
    }
}
