//! A role of a test's own.

use session_postgres::{PostgresStore, postgres::NoTls};

use super::database::Schema;

/// May use the schema, and what it is granted; gone with the test.
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

    pub(crate) fn grant(&self, sql: &str) {
        self.schema
            .run(&sql.replace("TO web", &format!("TO \"{}\"", self.name)));
    }

    /// What makes a connection this role's.
    pub(crate) fn settings(&self) -> String {
        format!("SET ROLE \"{}\"", self.name)
    }

    /// A store whose connection is this role's.
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
