//! tower-sessions 0.15.

use tower_sessions_core as this_version;

// Another module compiles the same file for another version. A generic implementation cannot name the traits of both.
#[allow(clippy::duplicate_mod)]
#[path = "version.rs"]
mod version;
