//! The PostgreSQL backend. A call takes this path:
//!
//! 1. [`verbs`] checks the arguments. [`mod@write`], [`insert`], [`rotate`] and [`update`] have the verbs that may need more
//!    than one statement, and [`batch`] executes many calls in few statements.
//! 2. [`operation`] checks out a connection ([`checkout`]) from a client or pool ([`connection_source`]), and
//!    attempts the operation again if an error allows that ([`failure`]).
//! 3. [`connection`] sends a statement. [`sql`] has the text of all [`statements`].
//! 4. [`row`] reads what the server returns.

// rustdoc shows the methods of `PostgresStore` in the order of these modules.
mod postgres_store;

mod create_table;

mod count;

mod check;
mod prune;

mod batch;
mod builder;
mod checkout;
mod connection;
mod connection_source;
mod constructors;
mod failure;
mod insert;
mod make_canceller;
mod mutex;
mod names;
mod operation;
mod own_pool;
mod owners;
mod params;
mod rotate;
mod row;
mod secret;
mod session_transaction;
mod shard_map;
mod sql;
mod statements;
mod stats;
mod transaction;
mod update;
mod verbs;
mod write;

pub use self::{
    builder::PostgresStoreBuilder,
    names::{Columns, ValueType},
    postgres_store::PostgresStore,
    session_transaction::SessionTransaction,
    stats::{ConnectionStats, StoreStats},
};
