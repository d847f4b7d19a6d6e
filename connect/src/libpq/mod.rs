//! The sources of options, as libpq reads them: connection strings with [`keyword`]s, the service file, the
//! environment and the password file. A [`lookup`] finds the value of a keyword in all of them.

pub(crate) mod connection_string;
pub(crate) mod environment;
pub(crate) mod keyword;
pub(crate) mod lookup;
pub(crate) mod password_file;
mod service_file;
#[cfg(test)]
mod test_files;
