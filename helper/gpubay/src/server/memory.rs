//! A helper idles for days between minutes of work.

/// Gives the machine what work needed and freed. The C library keeps it otherwise, spread over the heaps of the threads that
/// worked: after a first start that was two thirds of the helper's own memory.
pub(super) fn give_back() {
    // It walks through all heaps: some milliseconds in which nobody else is kept waiting.
    tokio::task::spawn_blocking(|| {
        #[cfg(target_env = "gnu")]
        // SAFETY: no memory of ours is involved, and any thread may call it at any time.
        unsafe {
            libc::malloc_trim(0);
        }
    });
}
