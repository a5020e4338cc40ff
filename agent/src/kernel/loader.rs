//! aya's loader, made without its reading of the kernel's type information.
//!
//! aya 0.14's `EbpfLoader::new` parses `/sys/kernel/btf/vmlinux` before anybody can say that it is not wanted: about 12 MiB
//! at the peak, more than the rest of the agent, and 10 ms, for relocations that this program has none of. There is no
//! other constructor, so it is called while no file can be opened: it takes a missing BTF as it comes.

use aya::{EbpfLoader, VerifierLogLevel};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A loader without BTF.
#[expect(missing_debug_implementations, reason = "aya's loader has none")]
pub struct Loader(pub(super) EbpfLoader<'static>);

impl Loader {
    /// Makes one. To be called before the process has a second thread: for a moment no file can be opened.
    #[must_use]
    pub fn new() -> Self {
        let limit = getrlimit(Resource::Nofile);
        let none = Rlimit { current: Some(0), maximum: limit.maximum };
        // Lowering and raising the soft limit is anybody's right. Where it fails all the same it costs memory, no more.
        let lowered = setrlimit(Resource::Nofile, none).is_ok();
        let mut loader = EbpfLoader::new();
        // Its reason alone: with every step that it took it would look through a large program ten times before it refuses.
        loader.verifier_log_level(VerifierLogLevel::STATS);
        if lowered && let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::error!(%error, "Cannot restore the limit of open files; expect failures.");
        }
        Self(loader)
    }
}

impl Default for Loader {
    fn default() -> Self {
        Self::new()
    }
}
