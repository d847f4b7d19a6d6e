//! Guides: one page per task.
//!
//! - [`blocking`]: blocking code with an existing pool, client or connection string
//! - [`async_code`]: async programs, through [`Offload`](crate::Offload)
//! - [`axum`]: web sites on axum, with tower-sessions or a cookie of their own
//! - [`connecting`]: connection strings, TLS, failover, poolers, time limits
//! - [`from_sqlx`]: moving from tower-sessions-sqlx-store while visitors stay logged in

#[doc = include_str!("async_code.md")]
pub mod async_code {}

#[doc = include_str!("axum.md")]
pub mod axum {}

#[doc = include_str!("blocking.md")]
pub mod blocking {}

#[doc = include_str!("connecting.md")]
pub mod connecting {}

#[doc = include_str!("from_sqlx.md")]
pub mod from_sqlx {}
