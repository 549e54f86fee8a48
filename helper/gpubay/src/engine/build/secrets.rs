//! Build secrets: read before the build, handed to the engine on request, never written out.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::Secrets;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use tonic::{Request, Response, Status};

use super::error::BuildError;
use crate::config::model::{Secret, SecretSource};
use crate::files::{self, FileError};

/// What the engine takes at most, in bytes.
const LIMIT: u64 = 500 * 1024;
/// Shorter texts are no secrets, and hiding them would make output unreadable.
const SHORTEST: usize = 3;
/// A line of a secret of several lines is hidden by itself from this length on.
const SHORTEST_LINE: usize = 6;

fn too_large() -> String {
    format!("it is larger than {} KB", LIMIT / 1024)
}

/// The secrets of one build by their ids.
#[derive(Clone, Default)]
pub(super) struct Values(Arc<BTreeMap<String, Vec<u8>>>);

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Values {
    pub(super) fn read(secrets: &[Secret]) -> Result<Self, BuildError> {
        let mut values = BTreeMap::new();
        for secret in secrets {
            let fail = |why: String| BuildError::Secret { id: secret.id.clone(), why };
            let value = match &secret.source {
                SecretSource::Env(name) => std::os::unix::ffi::OsStringExt::into_vec(
                    std::env::var_os(name).ok_or_else(|| fail(format!("the variable {name} is not set")))?,
                ),
                SecretSource::File(path) => files::read_resolved(path, LIMIT).map_err(|error| match error {
                    FileError::TooLarge(_) => fail(too_large()),
                    other => fail(format!("{path} {other}")),
                })?,
            };
            if value.len() as u64 > LIMIT {
                return Err(fail(too_large()));
            }
            values.insert(secret.id.clone(), value);
        }
        Ok(Self(Arc::new(values)))
    }

    /// The texts that must not be shown, the longest first.
    pub(super) fn redactor(&self) -> Redactor {
        let mut texts: Vec<String> = Vec::new();
        for value in self.0.values() {
            let value = String::from_utf8_lossy(value);
            let whole = value.trim();
            if whole.len() >= SHORTEST {
                texts.push(whole.to_owned());
            }
            if whole.contains('\n') {
                texts.extend(whole.lines().map(str::trim).filter(|l| l.len() >= SHORTEST_LINE).map(str::to_owned));
            }
        }
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        texts.dedup();
        Redactor(texts)
    }
}

/// Hides the values of secrets in texts.
#[derive(Default)]
pub(super) struct Redactor(Vec<String>);

impl Redactor {
    pub(super) fn apply(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| {
            if text.contains(secret.as_str()) { text.replace(secret.as_str(), "***") } else { text }
        })
    }
}

#[tonic::async_trait]
impl Secrets for Values {
    async fn get_secret(&self, request: Request<GetSecretRequest>) -> Result<Response<GetSecretResponse>, Status> {
        let id = &request.get_ref().id;
        let data = self.0.get(id).ok_or_else(|| Status::not_found(format!("secret {id}: not found")))?;
        Ok(Response::new(GetSecretResponse { data: data.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_whole_and_line_by_line() {
        let values = Values(Arc::new(BTreeMap::from([
            ("a".to_owned(), b"hunter2\n".to_vec()),
            ("b".to_owned(), b"-----BEGIN\nMIIabcdef\nx\n".to_vec()),
            ("c".to_owned(), b"ab".to_vec()),
        ])));
        let redactor = values.redactor();
        for (text, want) in [
            ("token=hunter2;", "token=***;"),
            ("MIIabcdef", "***"),
            ("ab x", "ab x"),
            ("-----BEGIN\nMIIabcdef\nx", "***"),
        ] {
            assert_eq!(redactor.apply(text), want);
        }
        assert!(!format!("{values:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let secret = |source| Values::read(&[Secret { id: "hf".to_owned(), source }]).unwrap_err().to_string();
        let text = secret(SecretSource::Env("GPUBAY_TEST_NO_SUCH_VARIABLE".to_owned()));
        assert!(text.contains("hf") && text.contains("GPUBAY_TEST_NO_SUCH_VARIABLE"), "{text}");
        let text = secret(SecretSource::File(crate::HostPath::new("/no/such").expect("a path")));
        assert!(text.contains("/no/such"), "{text}");
    }
}
