//! Standbys: copies of a server that follow it and can replace it.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use super::Server;
use crate::Error;
use crate::psql::literal;
use crate::wait::wait_until;

impl Server {
    /// Starts a standby of this server and waits until it receives changes from this server.
    ///
    /// The standby has the same options as this server and its own directory, and it can outlive this
    /// server. `name` is its `application_name`, which identifies it on this server.
    ///
    /// # Errors
    ///
    /// If this server does not run, if there is no `pg_basebackup` next to `postgres`, or if the standby
    /// does not start.
    pub fn standby(&self, name: &str) -> Result<Self, Error> {
        let bin = &self.binaries.dir;
        if !bin.join("pg_basebackup").is_file() {
            return Err(Error::new(format!(
                "there is no pg_basebackup in {}, and a standby needs it: install PostgreSQL's client programs \
                 too (apt-get install postgresql-client), or set PG_BIN to a directory that has it",
                bin.display()
            )));
        }
        if !self.supervisor().is_running()? {
            return Err(Error::new("the server does not run"));
        }
        let name = name.replace('\\', r"\\").replace('\'', r"\'");
        let primary = format!("{} application_name='{name}'", self.url);
        let pg_basebackup = |data: &Path| {
            let data = data.display().to_string();
            let mut args = vec!["-D", &data, "-d", &primary, "--write-recovery-conf"];
            args.extend(["--wal-method=stream", "--checkpoint=fast", "--no-password"]);
            if !self.options.durable {
                args.push("--no-sync");
            }
            args.into_iter().map(str::to_owned).collect()
        };
        let mut standby = Self::create(
            self.binaries.clone(),
            &self.options,
            "pg_basebackup",
            pg_basebackup,
        )?;
        // The copy contains this server's setting, and there are no standbys of the standby to wait for.
        let reset = OpenOptions::new()
            .append(true)
            .open(standby.dir.join("data/postgresql.auto.conf"))
            .and_then(|mut file| file.write_all(b"synchronous_standby_names = ''\n"));
        reset.map_err(Error::io("cannot change postgresql.auto.conf"))?;
        standby.first_start()?;
        let streaming = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'";
        wait_until("streaming to the standby", || {
            Ok(standby.sql(&[streaming])? == "1")
        })?;
        Ok(standby)
    }

    /// Makes every commit wait until the [`standby`](Self::standby) with this name has it too. The wait has
    /// no time limit. To end this, [`set`](Self::set) `synchronous_standby_names` to an empty value.
    ///
    /// # Errors
    ///
    /// If the server does not run, or if no such standby receives changes from it.
    pub fn wait_for_standby(&self, name: &str) -> Result<(), Error> {
        let listed = format!("\"{}\"", name.replace('"', "\"\""));
        self.set("synchronous_standby_names", &listed)?;
        if ["off", "local"].contains(&&*self.sql(&["SHOW synchronous_commit"])?) {
            self.set("synchronous_commit", "on")?;
        }
        let synchronous = format!(
            "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND application_name = {}",
            literal(name)
        );
        wait_until("making the standby synchronous", || {
            Ok(self.sql(&[&synchronous])? == "1")
        })?;
        // Commits wait once the checkpointer has read its settings. It reads them before each checkpoint, so
        // at the latest before the second one.
        self.sql(&["CHECKPOINT", "CHECKPOINT"])?;
        Ok(())
    }

    /// Promotes a [`standby`](Self::standby) to a primary, and waits until it accepts writes.
    ///
    /// # Errors
    ///
    /// If it does not run, if it is not a standby, or if the promotion takes too long.
    pub fn promote(&self) -> Result<(), Error> {
        match &*self.sql(&["SELECT pg_promote()"])? {
            "t" => Ok(()),
            _ => Err(self.supervisor().failed("the standby was not promoted")),
        }
    }
}
