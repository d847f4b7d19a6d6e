//! HTTP requests as a browser sends them.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use super::PATIENCE;

/// Sends a request, for example `GET /`, on a new connection.
pub(crate) fn send(
    address: SocketAddr,
    request: &str,
    cookie: Option<&str>,
    form: &str,
) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let cookie = cookie.map_or(String::new(), |cookie| format!("Cookie: {cookie}\r\n"));
    let request = format!(
        "{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n{cookie}\r\n{form}",
        form.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// Waits for the answer to the request that was sent.
    pub(crate) fn read(mut stream: TcpStream) -> Answer {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// Returns the cookie that was set, as a browser sends it.
    pub(crate) fn cookie(&self) -> String {
        let set = self.header("set-cookie").unwrap();
        set.split_once("; ").unwrap().0.to_owned()
    }
}
