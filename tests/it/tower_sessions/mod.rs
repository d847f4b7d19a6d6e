//! The session store of tower-sessions, for each version.

#[cfg(feature = "tower-sessions-0-14")]
mod axum_login;
#[cfg(feature = "tower-sessions-0-14")]
mod v0_14;
#[cfg(feature = "tower-sessions")]
mod v0_15;
#[cfg(all(feature = "tower-sessions", feature = "tower-sessions-0-14"))]
mod versions_together;
