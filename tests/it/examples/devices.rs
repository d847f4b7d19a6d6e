//! The page "Your devices".

use super::{Answer, Site};

pub(super) const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Firefox/130.0";
pub(super) const EDGE: &str = "Mozilla/5.0 (Windows NT 10.0) Chrome/128.0 Safari/537.36 Edg/128.0";

/// A row of the table.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) name: String,
    pub(super) is_here: bool,
    pub(super) age: String,
    pub(super) left: String,
    pub(super) handle: String,
}

impl Site {
    /// Returns the devices that the visitor with this cookie sees, the newest first.
    pub(super) fn devices(&self, cookie: &str) -> Vec<Device> {
        let answer = self.ask("GET /devices", Some(cookie));
        assert_eq!(answer.status, 200, "{}", answer.body);
        // The keys end here, and have at least 22 characters. A signature may precede them.
        let (_, key) = cookie.split_at(cookie.len() - 22);
        assert!(!answer.body.contains(key), "the page contains the key");
        let (_, rows) = answer.body.split_once("<tbody>").unwrap();
        rows.split("<tr>").skip(1).map(Device::parse).collect()
    }

    pub(super) fn log_out_device(&self, cookie: &str, handle: &str) -> Answer {
        let answer = self.post("/devices/logout", cookie, &format!("handle={handle}"));
        assert_eq!(answer.status, 303, "{}", answer.body);
        answer
    }
}

impl Device {
    fn parse(row: &str) -> Device {
        let between = |from: &str, to: &str| {
            let (_, rest) = row.split_once(from).unwrap();
            rest.split_once(to).unwrap().0.to_owned()
        };
        let header = between("<th scope=row ", "</th>");
        let name = header.split('>').nth(1).unwrap();
        Device {
            name: name.split('<').next().unwrap().to_owned(),
            is_here: header.contains("This device"),
            age: between("</th><td>", "</td>"),
            left: between("</td><td>", "</td>"),
            handle: between("name=handle value=", ">"),
        }
    }
}

/// Returns the cookie with the header that names the browser.
pub(super) fn from(browser: &str, cookie: &str) -> String {
    format!("{cookie}\r\nUser-Agent: {browser}")
}

pub(super) fn names(devices: &[Device]) -> Vec<&str> {
    devices.iter().map(|device| device.name.as_str()).collect()
}
