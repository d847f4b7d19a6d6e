//! `examples/sharded.rs`.

use std::{collections::BTreeMap, process::Output};

use super::program::command;

/// The output of the example for a step.
#[derive(Debug)]
struct Step {
    servers: BTreeMap<String, Seen>,
    /// The lines below the table.
    notes: Vec<String>,
}

/// The line of a server in the output.
#[derive(Debug)]
struct Seen {
    visitors: u64,
    logins: u64,
    pages: u64,
    errors: u64,
    last_error: String,
}

/// Reads the tables. Titles and tables end with an empty line.
fn steps(output: &str) -> Vec<Step> {
    let tables = output.split("\n\n");
    let tables = tables.filter(|text| text.starts_with("server "));
    tables.map(step).collect()
}

fn step(text: &str) -> Step {
    let mut step = Step {
        servers: BTreeMap::new(),
        notes: Vec::new(),
    };
    for line in text.lines().skip(1) {
        match row(line) {
            Some((server, seen)) => _ = step.servers.insert(server, seen),
            None => step.notes.push(line.to_owned()),
        }
    }
    step
}

fn row(line: &str) -> Option<(String, Seen)> {
    let mut words = line.split_whitespace();
    let server = words.next()?.to_owned();
    let mut number = || words.next()?.parse().ok();
    let [visitors, logins, pages, _logouts, errors] =
        [number()?, number()?, number()?, number()?, number()?];
    let seen = Seen {
        visitors,
        logins,
        pages,
        errors,
        last_error: words.next()?.to_owned(),
    };
    Some((server, seen))
}

/// The number of visitors that the step leaves without a page of server b.
fn waiting(step: &Step) -> u64 {
    let number = step.notes[0].strip_suffix(" visitors wait for server b.");
    number.unwrap().parse().unwrap()
}

#[test]
fn sharded_shows_that_a_stopped_server_affects_only_its_visitors() {
    let Output {
        status,
        stdout,
        stderr,
    } = command("sharded").output().unwrap();
    let [output, log] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
    println!("{output}");
    assert!(status.success() && log.is_empty(), "{log}");

    let total = "\n\nIn all steps, 0 logins have failed, and 0 sessions were lost.\n";
    assert!(output.ends_with(total));
    let steps = steps(&output);
    let [started, stopped, added, back, closed] = &steps[..] else {
        panic!("{} steps", steps.len());
    };
    for (server, seen) in steps.iter().flat_map(|step| &step.servers) {
        assert!(seen.errors == 0 || server == "b", "{server}: {seen:?}");
    }
    let names = |step: &Step| step.servers.keys().cloned().collect::<String>();
    assert_eq!(names(started), "abc");
    for seen in started.servers.values() {
        assert!(seen.logins > 0 && seen.pages > 0 && seen.errors == 0);
    }

    for step in [stopped, added] {
        let b = &step.servers["b"];
        assert!(b.errors > 0 && b.logins == 0, "{b:?}");
        assert_eq!(b.last_error, "timed_out");
    }
    let unanswered = r#"Servers ["a", "c"] have answered, but not ["b"]."#;
    assert!(stopped.notes[0].ends_with(unanswered), "{stopped:?}");

    assert_eq!(names(added), "abcd");
    assert!(added.servers["d"].logins > 0 && added.servers["d"].pages > 0);
    assert_eq!(added.servers["b"].pages, 0);

    assert!(waiting(added) > 0);
    assert_eq!(waiting(back), 0);
    assert!(back.servers["b"].visitors >= waiting(added));
    assert!(back.servers["b"].pages >= waiting(added));

    assert!(closed.servers.get("a").is_none_or(|a| a.logins == 0));
    let share = |server: &str| {
        let starts = format!("Server {server} has ");
        let note = closed.notes.iter().find(|note| note.starts_with(&starts));
        note.unwrap().rsplit_once(' ').unwrap().1
    };
    assert_eq!(["a", "b", "c", "d"].map(share), ["0.", "1.", "1.", "2."]);
}
