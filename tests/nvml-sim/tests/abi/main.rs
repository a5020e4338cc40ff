//! The built library as its clients load it: by `dlopen`, through `nvml-wrapper` and through the plain functions.
//!
//! Each case runs in a process of its own with a scenario of its own, because a loaded library has one session and its
//! environment is the process's. The case starts this test binary again for itself alone and fails with it.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "the helpers of a test panic as tests do"
)]

mod boards;
mod calls;
mod library;
mod links;
mod session;
#[path = "../support/mod.rs"]
mod support;
