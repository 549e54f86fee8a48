//! Text in an address: bytes that could mean something there become `%XX` (RFC 3986).

use std::fmt::Write as _;

/// A path: its slashes stay.
pub fn path(text: &str) -> String {
    encoded(text, b"/")
}

/// One name or value: everything but letters, digits and `-._~` is encoded.
pub fn component(text: &str) -> String {
    encoded(text, b"")
}

fn encoded(text: &str, stays: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || stays.contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_is_encoded() {
        assert_eq!(path("/a b/ü~%2.-_?#&=+"), "/a%20b/%C3%BC~%252.-_%3F%23%26%3D%2B");
        assert_eq!(component("a/b:c\n"), "a%2Fb%3Ac%0A");
    }
}
