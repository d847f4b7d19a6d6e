//! A database role for one test.

use session_postgres::{PostgresStore, postgres::NoTls};

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
