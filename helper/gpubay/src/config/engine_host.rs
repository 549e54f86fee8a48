//! Addresses of engines: which are taken, and how they are shown without their secrets.

use super::error::BadValue;

/// The address as it was written, when nothing is wrong with it.
pub(super) fn check(text: &str) -> Result<String, BadValue> {
    let bad = |why: &str| BadValue::EngineHost { given: redact(text), why: why.to_owned() };
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(bad("it contains a space or a control character"));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(bad("it has no scheme"));
    };
    match scheme {
        "unix" if rest.starts_with('/') => return Ok(text.to_owned()),
        "unix" => return Err(bad("the path of the socket is not absolute")),
        "ssh" | "tcp" | "http" | "https" => {}
        _ => return Err(bad("the scheme is unix, ssh, tcp, http or https")),
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    if host.is_empty() {
        return Err(bad("it names no host"));
    }
    // ssh would read it as one of its own options, such as -oProxyCommand=…, and run a program.
    if host.starts_with('-') || user.is_some_and(|user| user.starts_with('-')) {
        return Err(bad("a host or user cannot begin with `-`"));
    }
    let plain = |c: char| c.is_alphanumeric() || "-_.:[]%".contains(c);
    if !host.chars().all(plain) {
        return Err(bad("the host contains a character that no host name has"));
    }
    if scheme == "ssh" && user.is_some_and(|user| !user.chars().all(|c| plain(c) || c == '+')) {
        return Err(bad("the user contains a character that no user name has"));
    }
    Ok(text.to_owned())
}

/// Without what stands between `://` and `@` besides the user's name, and without a query.
pub fn redact(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    // The last `@` of all: a password may hold `/` and `@`.
    let Some((user, host)) = rest.rsplit_once('@') else { return format!("{scheme}://{rest}") };
    match user.split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:***@{host}"),
        // Where a user alone is a token: only ssh has names there.
        None if scheme != "ssh" => format!("{scheme}://***@{host}"),
        None => format!("{scheme}://{user}@{host}"),
    }
}

/// Whether everybody on the way can read and change what is said.
pub(super) fn is_open(text: &str, tls: bool) -> bool {
    text.starts_with("http://") || (text.starts_with("tcp://") && !tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_ssh_would_read_as_an_option_is_refused() {
        for bad in [
            "ssh://-oProxyCommand=touch%20x",
            "ssh://ada@-oProxyCommand=x",
            "ssh://-l@host",
            "ssh://-v",
            "ssh://ada@-v",
            "ssh://",
            "ssh://ada@",
            "ssh://a b",
            "ssh://host\n",
            "ssh://$(id)",
            "ssh://a;b",
            "unix://run/x.sock",
            "docker.sock",
            "ftp://host",
            "",
        ] {
            assert!(matches!(check(bad), Err(BadValue::EngineHost { .. })), "{bad:?} was taken");
        }
        for good in [
            "ssh://gpu-server",
            "ssh://ada@gpu:22",
            "tcp://127.0.0.1:2376",
            "unix:///var/run/docker.sock",
            "tcp://[::1]:2376",
        ] {
            assert_eq!(check(good).as_deref(), Ok(good));
        }
    }

    #[test]
    fn no_secret_of_an_address_is_shown() {
        for (given, shown) in [
            ("tcp://ada:s3cret@host:1", "tcp://ada:***@host:1"),
            ("https://s3cret@host/path?token=s3cret", "https://***@host/path"),
            ("ssh://ada@host", "ssh://ada@host"),
            ("ssh://ada:s3/cr@et@host", "ssh://ada:***@host"),
            ("unix:///run/x.sock", "unix:///run/x.sock"),
        ] {
            assert_eq!(redact(given), shown);
        }
        let Err(error) = check("ftp://ada:s3cret@host") else { panic!("taken") };
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}
