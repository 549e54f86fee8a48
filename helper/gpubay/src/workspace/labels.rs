//! Names and labels: the contract by which a container is found again, and the only memory of it.

use std::collections::BTreeMap;

use crate::HostPath;

pub(super) const SCHEMA: &str = "1";
/// What the names of all of them begin with.
pub(super) const OURS: &str = "gpubay.";
pub const WORKSPACE: &str = "gpubay.workspace";
pub const ID: &str = "gpubay.id";
pub const ROLE: &str = "gpubay.role";
pub(super) const CONFIG: &str = "gpubay.config";
/// The options that [`CONFIG`] is over by their names, so that a difference can be named.
pub(super) const OPTIONS: &str = "gpubay.options";
pub const GPUS: &str = "gpubay.gpus";
/// What `--gpus` asked for when the container was made; without it the configuration decided.
pub(super) const CHOSEN: &str = "gpubay.chosen";
pub(super) const OWNER: &str = "gpubay.owner";
pub(super) const SCHEMA_LABEL: &str = "gpubay.schema";
pub(super) const METADATA: &str = "devcontainer.metadata";
/// On jobs: the name that `run --name` gave, or the one made for it.
pub const JOB: &str = "gpubay.job";
/// On jobs: the command as a JSON array.
pub const COMMAND: &str = "gpubay.command";
/// On jobs: the name of the record of what it was made of, and the shortest facts of it.
pub const RECORD: &str = "gpubay.record";
/// On jobs: the commit, with a `+` where tracked files differed from it.
pub const COMMIT: &str = "gpubay.commit";
/// On jobs: the image's id.
pub(super) const IMAGE: &str = "gpubay.image";
/// On jobs: the version of GPU Bay.
pub(super) const VERSION: &str = "gpubay.version";
/// How GPUs got in, and why, so that a later report can repeat it.
pub(super) const INJECTION: &str = "gpubay.injection";
pub(super) const REASON: &str = "gpubay.reason";
/// `soft` or `hard`.
pub(super) const ISOLATION: &str = "gpubay.isolation";
/// The GPUs inside, where CUDA can be told them: `0=GPU-…,1:0=MIG-…`.
pub(super) const DEVICES: &str = "gpubay.devices";
/// What `CUDA_VISIBLE_DEVICES` was when the container was made; missing where it was left alone.
pub(super) const VISIBLE: &str = "gpubay.visible";
/// The version of the driver whose files a container was given; missing where the engine gave it its GPUs.
pub(super) const DRIVER: &str = "gpubay.driver";
/// The wish that led to it, as `--gpus` takes it.
pub(super) const ASKED: &str = "gpubay.asked";
/// How its GPUs are held: `exclusive` or `shared`, on jobs; `waiting` on what stands in a queue for some.
pub(super) const LEASE: &str = "gpubay.lease";
/// On jobs in the foreground: the process that watches them.
pub(super) const WATCHED: &str = "gpubay.watched";
/// Who the users inside are outside, so that the engine need not be asked for it again.
pub(super) const USERS: &str = "gpubay.users";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Dev,
    Job,
    Helper,
}

impl Role {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Job => "job",
            Self::Helper => "helper",
        }
    }
}

/// The labels that every container of ours carries.
pub(super) fn common(workspace: &HostPath, id: &str, uid: u32, role: Role) -> BTreeMap<String, String> {
    [
        (WORKSPACE, workspace.to_string()),
        (ID, id.to_owned()),
        (ROLE, role.as_str().to_owned()),
        (OWNER, uid.to_string()),
        (SCHEMA_LABEL, SCHEMA.to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}
