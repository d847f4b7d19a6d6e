//! The parts that the session stores of web frameworks share.

pub(crate) mod json;
mod repeated;

pub(crate) use self::repeated::repeated;
