//! tower-sessions 0.15.

use ::tower_sessions;

// Another module compiles the same file for another version.
#[allow(clippy::duplicate_mod)]
#[path = "version/mod.rs"]
mod version;
