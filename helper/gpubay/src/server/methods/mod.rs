//! One file a request. Each says what it takes and answers, and calls the core; the owner decides whether it may begin.

pub(super) mod attach_target;
pub(super) mod choose_dockerfile;
pub(super) mod doctor;
pub(super) mod down;
pub(super) mod gpus;
pub(super) mod init;
pub(super) mod logs;
pub(super) mod ps;
pub(super) mod rebuild;
pub(super) mod restart;
pub(super) mod rm;
pub(super) mod run;
pub(super) mod select_gpus;
pub(super) mod stakes;
pub(super) mod status;
pub(super) mod stop;
pub(super) mod sync;
pub(super) mod up;
pub(super) mod watch_gpus;

use tower_lsp::LspServiceBuilder;

use super::Backend;
use super::method::Method;

/// Calls `$with!(Type, Type, …)` with every method there is.
macro_rules! every_method {
    ($with:ident) => {
        $with!(
            crate::server::methods::attach_target::AttachTarget,
            crate::server::methods::choose_dockerfile::ChooseDockerfile,
            crate::server::methods::doctor::Doctor,
            crate::server::methods::down::Down,
            crate::server::methods::gpus::Gpus,
            crate::server::methods::init::Init,
            crate::server::methods::logs::Logs,
            crate::server::methods::ps::Ps,
            crate::server::methods::rebuild::Rebuild,
            crate::server::methods::restart::Restart,
            crate::server::methods::rm::Rm,
            crate::server::methods::run::Run,
            crate::server::methods::select_gpus::SelectGpus,
            crate::server::methods::stakes::Stakes,
            crate::server::methods::status::Status,
            crate::server::methods::stop::Stop,
            crate::server::methods::sync::Sync,
            crate::server::methods::up::Up,
            crate::server::methods::watch_gpus::WatchGpus
        )
    };
}
#[cfg(test)]
pub(super) use every_method;

pub(super) fn register(builder: LspServiceBuilder<Backend>) -> LspServiceBuilder<Backend> {
    macro_rules! add {
        ($($method:ty),*) => {
            builder$(.custom_method(<$method>::NAME, Backend::call::<$method>))*
        };
    }
    every_method!(add)
}
