//! tower-sessions 0.14.

use tower_sessions_core_0_14 as this_version;

// Another module compiles the same file for another version. A generic implementation cannot name the traits of both.
#[allow(clippy::duplicate_mod)]
#[path = "version.rs"]
mod version;
