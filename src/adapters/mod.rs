//! The parts that the session stores of web frameworks share.

mod repeated;

pub(crate) use self::repeated::repeated;
