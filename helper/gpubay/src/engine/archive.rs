//! Files into and out of a container that need not run.
//!
//! What goes in is always an uncompressed archive: an engine with CVE-2026-41567 runs the
//! container's own `xz` for a compressed one.

use std::io::Read;

use bollard::body_full;
use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use bytes::Bytes;
use futures_util::StreamExt;

use super::{Engine, EngineError, error::sort};
use crate::ContainerPath;

/// Numbers, since the image need not know any names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// When something was changed, as far as it tells whether two are the same: the time of day is another matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Within its minute.
    pub second: u8,
    pub nanosecond: u32,
}

impl Moment {
    /// From `2026-01-31T12:00:07.000000001Z`, whose zone may be any.
    fn parse(text: &str) -> Option<Self> {
        let rest = text.split_once('T')?.1.get(6..)?;
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let second = rest.get(..digits(rest))?.parse().ok()?;
        let fraction = rest.get(digits(rest)..)?.strip_prefix('.').map_or("", |rest| &rest[..digits(rest)]);
        Some(Self { second, nanosecond: format!("{fraction:0<9}").get(..9)?.parse().ok()? })
    }
}

/// An archive being put together.
pub struct Archive {
    builder: tar::Builder<Vec<u8>>,
    entries: usize,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("entries", &self.entries).finish_non_exhaustive()
    }
}

impl Default for Archive {
    fn default() -> Self {
        Self { builder: tar::Builder::new(Vec::new()), entries: 0 }
    }
}

impl Archive {
    pub fn file(&mut self, path: &ContainerPath, contents: &[u8], mode: u32, owner: Owner) {
        self.append(path, contents, mode, owner, tar::EntryType::Regular);
    }

    /// One that is there keeps what it holds, and takes this mode and owner.
    pub fn folder(&mut self, path: &ContainerPath, mode: u32, owner: Owner) {
        self.append(path, &[], mode, owner, tar::EntryType::Directory);
    }

    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    fn append(&mut self, path: &ContainerPath, contents: &[u8], mode: u32, owner: Owner, kind: tar::EntryType) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(u64::from(owner.uid));
        header.set_gid(u64::from(owner.gid));
        header.set_size(contents.len() as u64);
        // Writing into memory cannot fail, and a container path is relative once its slash is gone.
        if self.builder.append_data(&mut header, path.as_str().trim_start_matches('/'), contents).is_ok() {
            self.entries += 1;
        }
    }

    fn into_bytes(self) -> std::io::Result<Vec<u8>> {
        self.builder.into_inner()
    }
}

impl Engine {
    /// Unpacks into a container's file system. One that has not been started works too; the
    /// image's environment stays as it is.
    pub async fn put(&self, container: &str, archive: Archive) -> Result<(), EngineError> {
        let doing = format!("put files into {container}");
        let bytes = archive.into_bytes().map_err(|error| EngineError::Refused {
            doing: doing.clone(),
            status: 0,
            message: error.to_string(),
        })?;
        let options = UploadToContainerOptionsBuilder::default().path("/").build();
        self.docker
            .upload_to_container(container, Some(options), body_full(Bytes::from(bytes)))
            .await
            .map_err(|error| sort(&doing, error))
    }

    /// When a file or folder was changed; `None` where there is none. The container need not run.
    pub async fn modified(&self, container: &str, path: &ContainerPath) -> Result<Option<Moment>, EngineError> {
        let options = ContainerArchiveInfoOptionsBuilder::default().path(path.as_str()).build();
        let doing = format!("look at {path} in {container}");
        match self
            .docker
            .get_container_archive_info(container, Some(options))
            .await
            .map_err(|error| sort(&doing, error))
        {
            Ok(found) => Ok(found.modification_time.as_deref().and_then(Moment::parse)),
            Err(EngineError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One regular file of at most `limit` bytes; `None` where there is none.
    pub async fn file(
        &self,
        container: &str,
        path: &ContainerPath,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, EngineError> {
        let doing = format!("read {path} in {container}");
        let options = DownloadFromContainerOptionsBuilder::default().path(path.as_str()).build();
        let mut stream = std::pin::pin!(self.docker.download_from_container(container, Some(options)));
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            match chunk.map_err(|error| sort(&doing, error)) {
                Ok(chunk) => bytes.extend_from_slice(&chunk),
                Err(EngineError::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
            // A tar header and its padding come on top.
            if bytes.len() > limit + 8192 {
                return Err(EngineError::Refused {
                    doing,
                    status: 200,
                    message: format!("it is larger than {limit} bytes"),
                });
            }
        }
        let broken = |error: std::io::Error| EngineError::Refused {
            doing: doing.clone(),
            status: 200,
            message: error.to_string(),
        };
        let mut archive = tar::Archive::new(bytes.as_slice());
        for entry in archive.entries().map_err(broken)? {
            let mut entry = entry.map_err(broken)?;
            if entry.header().entry_type() == tar::EntryType::Regular {
                let mut contents = Vec::new();
                entry.read_to_end(&mut contents).map_err(broken)?;
                return Ok(Some(contents));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_to_the_nanosecond() {
        for (text, second, nanosecond) in [
            ("2026-01-31T12:00:07.000000001Z", 7, 1),
            ("2026-01-31T12:00:07.5+02:00", 7, 500_000_000),
            ("2026-01-31T12:00:59Z", 59, 0),
        ] {
            assert_eq!(Moment::parse(text), Some(Moment { second, nanosecond }), "{text}");
        }
        for bad in ["", "12:00:07", "2026-01-31T12:0"] {
            assert_eq!(Moment::parse(bad), None, "{bad}");
        }
    }
}
