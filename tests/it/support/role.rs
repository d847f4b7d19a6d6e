//! Database roles for one test.

use session_postgres::{
    PostgresStore,
    postgres::{Client, NoTls},
};
use throwaway_postgres::Server;

use super::database::Schema;

/// A role that may use the schema, and what it is granted. It is dropped with the test.
pub(crate) struct Role<'s> {
    schema: &'s Schema,
    name: String,
}

impl<'s> Role<'s> {
    pub(crate) fn new(schema: &'s Schema) -> Role<'s> {
        let name = format!("web of {}", schema.name()).replace('"', "");
        schema.run(&format!(
            "CREATE ROLE \"{name}\" NOLOGIN; GRANT USAGE ON SCHEMA {} TO \"{name}\"",
            schema.quoted()
        ));
        Role { schema, name }
    }

    /// Runs SQL, in which `TO web` stands for this role.
    pub(crate) fn grant(&self, sql: &str) {
        self.schema
            .run(&sql.replace("TO web", &format!("TO \"{}\"", self.name)));
    }

    /// The SQL that makes a connection use this role.
    pub(crate) fn settings(&self) -> String {
        format!("SET ROLE \"{}\"", self.name)
    }

    /// A store whose connection uses this role.
    pub(crate) fn store(&self) -> PostgresStore {
        let mut client = self.schema.config().connect(NoTls).unwrap();
        client.batch_execute(&self.settings()).unwrap();
        self.schema.builder().from_client(client)
    }
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        let name = &self.name;
        self.schema
            .run(&format!("DROP OWNED BY \"{name}\"; DROP ROLE \"{name}\""));
    }
}

/// Starts a server that asks for a password on TCP. The role `web` has the password `lobster`.
pub(crate) fn server_with_password() -> Server {
    let builder = Server::builder().tcp(true);
    let server = builder
        .hba("host all all 127.0.0.1/32 scram-sha-256")
        .start();
    let server = server.unwrap();
    let mut superuser = Client::connect(server.url(), NoTls).unwrap();
    let role = "CREATE ROLE web LOGIN PASSWORD 'lobster'";
    superuser.batch_execute(role).unwrap();
    server
}
