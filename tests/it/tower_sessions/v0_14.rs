//! tower-sessions 0.14.

use tower_sessions_0_14 as tower_sessions;

// Another module compiles the same file for another version.
#[allow(clippy::duplicate_mod)]
#[path = "version/mod.rs"]
mod version;
