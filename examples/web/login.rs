//! The pages of a site with a login and a list of the user's devices.

use serde::Deserialize;
use session_postgres::{OwnedSession, Period};

pub(crate) const INVALID_NAME: &str = "A name has 1 to 40 characters.";
pub(crate) const LOGGED_OUT: &str = "That device is logged out.";
pub(crate) const NOT_LOGGED_IN: &str = "That device was not logged in any more.";
pub(crate) const LOGGED_OUT_ELSEWHERE: &str = "You are logged out everywhere else.";

pub(crate) const GOODBYE: &str =
    "<h1>Goodbye</h1><p>Your session is gone.</p><nav><a href=/>Begin again</a></nav>";
/// Shows an error without details.
pub(crate) const SORRY: &str =
    "<h1>Sorry</h1><p>This did not work.</p><nav><a href=/>Try again</a></nav>";

pub(crate) fn is_valid_name(name: &str) -> bool {
    (1..=40).contains(&name.chars().count()) && !name.chars().any(char::is_control)
}

/// Returns a name by which the user recognizes the device, from the header `User-Agent`. It comes from the browser, so it
/// can be false.
pub(crate) fn device_name(agent: Option<&[u8]>) -> String {
    let agent = std::str::from_utf8(agent.unwrap_or_default()).unwrap_or_default();
    let find = |names: &[&'static str]| names.iter().find(|name| agent.contains(**name)).copied();
    // Chromium also calls itself Safari, Edge also Chrome, and Android also Linux.
    let browser = find(&["Firefox", "Edg", "Chrome", "Safari"]).unwrap_or("Unknown browser");
    let system = find(&["Android", "iPhone", "iPad", "Windows", "Mac OS", "Linux"]);
    match system {
        Some(system) => format!("{} on {system}", browser.replace("Edg", "Edge")),
        None => browser.to_owned(),
    }
}

/// `message` is shown on this page.
pub(crate) fn front_page(user: Option<&str>, visits: u64, message: Option<&str>) -> String {
    let message = status(message);
    let times = if visits == 1 { "time" } else { "times" };
    let count = format!("<p>You have been here <strong>{visits}</strong> {times}</p>");
    match user {
        Some(name) => format!(
            "{message}<h1>Hello, {}</h1>{count}
            <nav><a href=/>Visit again</a>
            <a href=/devices>Your devices</a>
            <form method=post action=/logout><button>Log out</button></form></nav>",
            escape(name)
        ),
        None => format!(
            "{message}<h1>Your visits</h1>{count}
            <form method=post action=/login><label for=name>Your name</label>
            <input id=name name=name required maxlength=40 autocomplete=username>
            <button>Log in</button></form>
            <p><small>Any name will do: this example has no passwords.</small></p>"
        ),
    }
}

/// `here` is the handle of the visitor's session.
pub(crate) fn devices_page(devices: &[OwnedSession], here: &str, message: Option<&str>) -> String {
    let message = status(message);
    let rows = devices.iter().enumerate().map(|(row, device)| {
        let is_here = device.handle == here;
        let name = escape(&stored_device_name(device));
        let mark = if is_here {
            "<small>This device</small>"
        } else {
            ""
        };
        let age = device.age.map_or("unknown".to_owned(), in_words);
        let left = in_words(device.period);
        let handle = &device.handle;
        let button = if is_here { "Log out here" } else { "Log out" };
        // A screen reader announces the name of the device with the button.
        format!(
            "<tr><th scope=row id=device-{row}>{name}{mark}</th><td>{age}</td><td>{left}</td>
            <td><form method=post action=/devices/logout>
            <input type=hidden name=handle value={handle}>
            <button id=button-{row} aria-labelledby='button-{row} device-{row}'>{button}</button>
            </form></td></tr>"
        )
    });
    format!(
        "{message}<h1 id=devices>Your devices</h1>
        <table aria-labelledby=devices>
        <thead><tr><th scope=col>Device</th><th scope=col>Logged in for</th>
        <th scope=col>Ends in</th><th scope=col>Action</th></tr></thead>
        <tbody>{}</tbody></table>
        <nav><a href=/>Back</a>
        <form method=post action=/elsewhere><button>Log out everywhere else</button></form></nav>",
        rows.collect::<String>()
    )
}

/// Both adapters store the data of a session as a JSON object.
fn stored_device_name(session: &OwnedSession) -> String {
    #[derive(Deserialize)]
    struct Data {
        device: String,
    }
    let data = session.value.as_deref().map(serde_json::from_str::<Data>);
    match data {
        Some(Ok(data)) => data.device,
        // The login is not complete.
        _ => "New device".to_owned(),
    }
}

fn in_words(period: Period) -> String {
    super::in_words(period.as_seconds_f64())
}

fn status(message: Option<&str>) -> String {
    message.map_or(String::new(), |text| {
        format!("<p role=status>{}</p>", escape(text))
    })
}

/// Escapes text between tags. Attributes would also need their quotes escaped.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
