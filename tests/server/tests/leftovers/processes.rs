//! Processes and shared memory, from `/proc` or `ps`.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Returns the ids of the processes whose arguments contain the text.
pub(crate) fn processes_with(text: &str) -> Vec<String> {
    let all = if Path::new("/proc/self/cmdline").exists() {
        let entries = fs::read_dir("/proc").expect("/proc").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().into_string().ok());
        pids.filter_map(|pid| Some((fs::read(format!("/proc/{pid}/cmdline")).ok()?, pid)))
            .map(|(args, pid)| {
                format!(
                    "{pid} {}",
                    String::from_utf8_lossy(&args).replace('\0', " ")
                )
            })
            .collect()
    } else {
        ps(&["-A", "-ww", "-o", "pid=,args="])
    };
    let with = all.iter().filter(|line| line.contains(text));
    with.filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect()
}

/// Returns the process group of a process.
pub(crate) fn group_of(pid: &str) -> String {
    if !Path::new("/proc/self/stat").exists() {
        return ps(&["-o", "pgid=", "-p", pid]).concat().trim().to_owned();
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    fields.split(' ').nth(2).unwrap_or_default().to_owned()
}

fn ps(args: &[&str]) -> Vec<String> {
    let output = Command::new("ps")
        .args(args)
        .output()
        .expect("ps, because there is no /proc");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Returns the files in `/dev/shm` that a process uses. Other systems than Linux have no such files.
pub(crate) fn shared_memory_of(pid: &str) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let files = maps.lines().filter_map(|line| line.split_once("/dev/shm/"));
    files.map(|(_, name)| format!("/dev/shm/{name}")).collect()
}

/// Returns the System V shared memory that no process uses and whose creator has ended.
pub(crate) fn orphaned_segments() -> Vec<String> {
    let segments = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    let segments = segments
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let orphaned =
        segments.filter(|fields| fields[6] == "0" && !Path::new("/proc").join(fields[4]).exists());
    orphaned.map(|fields| fields[1].to_owned()).collect()
}
