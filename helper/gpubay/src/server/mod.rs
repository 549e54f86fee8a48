//! The server for editors: JSON-RPC over stdio, LSP for what LSP has, `gpubay/*` for the rest.
//!
//! **Architecture Invariant:** one owner task ([`owner`]) holds all that changes; a handler hands its message to the owner
//! in the order in which it came, and awaits the answer. tower-lsp is known in this file, in `framing`, `outgoing` and `language` only.
//!
//! - `framing`: what tower-lsp could not survive is answered before it;
//! - `wire`: parameters and notifications, from which the TypeScript is generated (`typescript`);
//! - `methods`: one file a request;
//! - `owner`, `folder`: state, and what it is derived from;
//! - `inside`: the same for a window that is attached to the container;
//! - `gpu_watch`: GPUs, as long as somebody looks at them;
//! - `outgoing`: what is told unasked;
//! - `language`: help with our own files.

mod facts;
mod folder;
mod framing;
mod gpu_watch;
mod guard;
mod inside;
mod language;
mod memory;
mod method;
mod methods;
mod outgoing;
mod owner;
#[cfg(test)]
mod typescript;
pub mod wire;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustix::event::{PollFd, PollFlags, poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use tower_lsp::jsonrpc::{Error as RpcError, ErrorCode, Request, Response, Result as RpcResult};
use tower_lsp::lsp_types::{
    CompletionOptions, CompletionParams, CompletionResponse, DidChangeTextDocumentParams,
    DidChangeWorkspaceFoldersParams, DidCloseTextDocumentParams, DidOpenTextDocumentParams, Hover, HoverParams,
    HoverProviderCapability, InitializeParams, InitializeResult, InitializedParams, NumberOrString, OneOf,
    ServerCapabilities, ServerInfo, TextDocumentSyncCapability, TextDocumentSyncKind, WorkDoneProgressCancelParams,
    WorkspaceFoldersServerCapabilities, WorkspaceServerCapabilities,
};
use tower_lsp::{LanguageServer, LspService, Server};
use tower_service::Service;

use self::method::{About, Method};
use self::outgoing::Outgoing;
use self::owner::{Asked, Event, Help, Owner};
use self::wire::{Capabilities, Failure, Options, PROTOCOL, TrustParams};

/// LSP's code for a request that failed although it was understood.
const REQUEST_FAILED: i64 = -32803;
/// LSP's code for a request that its client has taken back.
const REQUEST_CANCELLED: i64 = -32800;

/// Serves one editor until it says goodbye, its end of `from` closes, or it dies. Work that is under way then is
/// cancelled and cleans up. Returns the process's exit code.
pub async fn serve(from: impl AsyncRead + Unpin + Send + 'static, to: impl AsyncWrite + Unpin) -> u8 {
    let exit = CancellationToken::new();
    let (events, inbox) = mpsc::unbounded_channel();
    tell_of_panics(events.clone());
    let mut inbox = Some(inbox);
    let mut owner = None;
    let leave = exit.clone();
    let builder = LspService::build(|client| {
        let out = Arc::new(Outgoing::new(client));
        let inbox = inbox.take().expect("it is built once");
        owner = Some(tokio::spawn(Owner::new(out, events.clone(), inbox).run()));
        Backend { events: events.clone(), exit: leave }
    });
    let (service, socket) = methods::register(builder)
        .custom_method(framing::MALFORMED, Backend::malformed)
        .custom_method(wire::TRUST, Backend::trust)
        .custom_method("window/workDoneProgress/cancel", Backend::cancel)
        .finish();
    let (written, read) = tokio::io::duplex(64 << 10);
    let hung_up = exit.clone();
    let forwarding = tokio::spawn(async move {
        framing::forward(from, written).await;
        // tower-lsp would wait for the work that is under way.
        hung_up.cancel();
    });
    // A handler only waits for the owner: as many as there are messages may wait.
    let serving = Server::new(read, to, socket).concurrency_level(usize::MAX);
    let watched = Watched { service, exit: exit.clone() };
    let mut owner = owner.expect("it was started with the service");
    tokio::select! {
        () = serving.serve(watched) => {}
        () = exit.cancelled() => {}
        // A bug of its own has ended it, and all that was known is lost: a new helper finds out anew, and this one would answer nobody.
        _ = &mut owner => return 1,
    }
    forwarding.abort();
    let (ended, all_ended) = oneshot::channel();
    let asked_to = events.send(Event::End(ended)).is_ok() && all_ended.await.is_ok_and(|orderly| orderly);
    owner.abort();
    u8::from(!asked_to)
}

/// A panic in some task is a bug of ours that somebody should hear of, and no reason to end the others.
fn tell_of_panics(events: mpsc::UnboundedSender<Event>) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        tracing::error!("{info}");
        // The editor may be gone.
        let _ = events.send(Event::Panicked(info.to_string()));
    }));
}

/// Sees `exit` before tower-lsp does, which would wait for one more message.
struct Watched {
    service: LspService<Backend>,
    exit: CancellationToken,
}

impl Service<Request> for Watched {
    type Response = Option<Response>;
    type Error = tower_lsp::ExitedError;
    type Future = Pin<Box<dyn Future<Output = Result<Option<Response>, tower_lsp::ExitedError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // While it initialises it says «not ready» and wakes nobody: its answer to a request in that time is the right one.
        match self.service.poll_ready(context) {
            Poll::Pending => Poll::Ready(Ok(())),
            ready @ Poll::Ready(_) => ready,
        }
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if request.method() == "exit" {
            self.exit.cancel();
        }
        Box::pin(self.service.call(request))
    }
}

/// What tower-lsp calls. It knows the way to the owner, and nothing else.
pub(super) struct Backend {
    events: mpsc::UnboundedSender<Event>,
    exit: CancellationToken,
}

impl Backend {
    /// Hands a request of ours to the owner. Everything up to the first `await` happens in the order of arrival.
    async fn call<M: Method>(&self, params: M::Params) -> RpcResult<serde_json::Value> {
        let (reply, answer) = oneshot::channel();
        let cancel = CancellationToken::new();
        // The client's `$/cancelRequest` drops this future.
        let taken_back = cancel.clone().drop_guard();
        let asked = Asked {
            method: M::NAME,
            kind: M::KIND,
            folder: params.folder().to_owned(),
            token: params.token().map(str::to_owned),
            cancel,
            start: Box::new(move |call| {
                Box::pin(async move {
                    let answered = M::answer(call.clone(), params).await.map_err(|failure| call.failed(failure))?;
                    serde_json::to_value(answered).map_err(|error| {
                        crate::error::Error::new("internal", format!("the answer cannot be written: {error}")).into()
                    })
                })
            }),
            reply,
        };
        let sent = self.events.send(Event::Asked(asked));
        let answered = match sent {
            Ok(()) => answer.await.ok(),
            Err(_) => None,
        };
        taken_back.disarm();
        answered.unwrap_or_else(|| Err(going_down())).map_err(failed)
    }

    #[expect(clippy::unused_async, reason = "tower-lsp takes nothing else")]
    async fn malformed(&self, why: Vec<String>) -> RpcResult<()> {
        Err(RpcError { code: ErrorCode::ParseError, message: why.join(" ").into(), data: None })
    }

    #[expect(clippy::unused_async, reason = "tower-lsp takes nothing else")]
    async fn cancel(&self, params: WorkDoneProgressCancelParams) {
        if let NumberOrString::String(token) = params.token {
            let _ = self.events.send(Event::Cancel(token));
        }
    }

    #[expect(clippy::unused_async, reason = "tower-lsp takes nothing else")]
    async fn trust(&self, params: TrustParams) {
        let _ = self.events.send(Event::Trust(params.trusted));
    }
}

fn going_down() -> Failure {
    crate::error::Error::new("going_down", "the helper is ending").into()
}

fn failed(failure: Failure) -> RpcError {
    let code = if failure.code == "cancelled" { REQUEST_CANCELLED } else { REQUEST_FAILED };
    let message = failure.message.clone().into();
    RpcError { code: ErrorCode::ServerError(code), message, data: serde_json::to_value(failure).ok() }
}

#[tower_lsp::async_trait]
impl LanguageServer for Backend {
    async fn initialize(&self, params: InitializeParams) -> RpcResult<InitializeResult> {
        let options: Options = match params.initialization_options {
            Some(options) if !options.is_null() => {
                serde_json::from_value(options).map_err(|error| RpcError::invalid_params(error.to_string()))?
            }
            _ => Options::default(),
        };
        if let Some(spoken) = options.protocol.filter(|spoken| *spoken != PROTOCOL) {
            return Err(failed(other_version(spoken, options.version.as_deref())));
        }
        let folders = params.workspace_folders.unwrap_or_default();
        let folders: Vec<PathBuf> = folders.iter().filter_map(|folder| folder.uri.to_file_path().ok()).collect();
        if let Some(editor) = params.process_id {
            end_with(editor, self.exit.clone());
        }
        let _ = self.events.send(Event::Begin { trusted: options.trusted, folders });
        let spoken = Capabilities { protocol: PROTOCOL, inside: inside::is() };
        Ok(InitializeResult {
            server_info: Some(ServerInfo {
                name: "gpubay".to_owned(),
                version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            }),
            capabilities: ServerCapabilities {
                workspace: Some(WorkspaceServerCapabilities {
                    workspace_folders: Some(WorkspaceFoldersServerCapabilities {
                        supported: Some(true),
                        change_notifications: Some(OneOf::Left(true)),
                    }),
                    file_operations: None,
                }),
                text_document_sync: Some(TextDocumentSyncCapability::Kind(TextDocumentSyncKind::FULL)),
                completion_provider: Some(CompletionOptions {
                    trigger_characters: Some(["[", "\"", "=", " ", "."].map(str::to_owned).into()),
                    ..CompletionOptions::default()
                }),
                hover_provider: Some(HoverProviderCapability::Simple(true)),
                experimental: Some(serde_json::json!({ "gpubay": spoken })),
                ..ServerCapabilities::default()
            },
        })
    }

    async fn initialized(&self, _: InitializedParams) {
        let _ = self.events.send(Event::Initialized);
    }

    async fn did_change_workspace_folders(&self, params: DidChangeWorkspaceFoldersParams) {
        let paths = |folders: Vec<tower_lsp::lsp_types::WorkspaceFolder>| {
            folders.iter().filter_map(|folder| folder.uri.to_file_path().ok()).collect()
        };
        let (added, removed) = (paths(params.event.added), paths(params.event.removed));
        let _ = self.events.send(Event::Folders { added, removed });
    }

    async fn did_open(&self, params: DidOpenTextDocumentParams) {
        let document = params.text_document;
        let _ = self.events.send(Event::Document { uri: document.uri, text: Some(document.text) });
    }

    async fn did_change(&self, params: DidChangeTextDocumentParams) {
        // The whole text, as was agreed.
        if let Some(change) = params.content_changes.into_iter().next_back() {
            let _ = self.events.send(Event::Document { uri: params.text_document.uri, text: Some(change.text) });
        }
    }

    async fn did_close(&self, params: DidCloseTextDocumentParams) {
        let _ = self.events.send(Event::Document { uri: params.text_document.uri, text: None });
    }

    async fn completion(&self, params: CompletionParams) -> RpcResult<Option<CompletionResponse>> {
        let at = params.text_document_position;
        let (answer, items) = oneshot::channel();
        let answer = Help::Complete(answer);
        let _ = self.events.send(Event::Help { uri: at.text_document.uri, position: at.position, answer });
        Ok(items.await.ok().map(CompletionResponse::Array))
    }

    async fn hover(&self, params: HoverParams) -> RpcResult<Option<Hover>> {
        let at = params.text_document_position_params;
        let (answer, said) = oneshot::channel();
        let answer = Help::Hover(answer);
        let _ = self.events.send(Event::Help { uri: at.text_document.uri, position: at.position, answer });
        Ok(said.await.ok().flatten())
    }

    async fn shutdown(&self) -> RpcResult<()> {
        let _ = self.events.send(Event::Shutdown);
        Ok(())
    }
}

/// The helper and the extension come from different packages.
fn other_version(spoken: u32, version: Option<&str>) -> Failure {
    let theirs = version.map_or_else(String::new, |version| format!(" {version}"));
    let own = env!("CARGO_PKG_VERSION");
    let what = format!(
        "the extension{theirs} speaks version {spoken} of the protocol, and this helper ({own}) version {PROTOCOL}"
    );
    crate::error::Error::new("other_version", what)
        .with_hint("Reload the window after an update; unset gpubay.helper.path if it names another helper.")
        .into()
}

/// Cancels `exit` as soon as the editor's process is gone, without looking again and again.
fn end_with(editor: u32, exit: CancellationToken) {
    let Some(pid) = i32::try_from(editor).ok().and_then(rustix::process::Pid::from_raw) else { return };
    // Where it cannot be watched it is gone already, or of another world (a number from outside of this container).
    let process = match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        Ok(process) => process,
        Err(error) => {
            tracing::debug!(%error, editor, "the editor's process cannot be watched");
            return;
        }
    };
    // It waits for the whole session and must not keep the process: a thread of its own.
    std::thread::spawn(move || {
        loop {
            match poll(&mut [PollFd::new(&process, PollFlags::IN)], None) {
                Ok(_) => return exit.cancel(),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    });
}
