//! Tables with other columns than the recommended one.

mod additional;
mod json;
mod keys;
mod names;
