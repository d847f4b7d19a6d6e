//! Poolers and load balancers that distribute statements over several servers.

use session_postgres::{
    ConnectOptions, Error, PostgresStore,
    postgres::{Client, Config, NoTls, config::Host},
};
use throwaway_postgres::{Pooler, Server};

use crate::support::tcp_proxy::TcpProxy;

#[test]
fn statements_that_reach_different_servers_are_reported() {
    let servers = [Server::start().unwrap(), Server::start().unwrap()];
    for server in &servers {
        let store = PostgresStore::connect(server.url()).unwrap();
        store.create_table().unwrap();
        store.check().unwrap();
    }
    by_a_load_balancer(&servers);
    by_a_pooler(&servers);
}

/// Fails unless the check reports the two databases and nothing else.
fn assert_reported(store: &PostgresStore, servers: &[Server; 2]) {
    let Err(Error::UnfitTable { problems, .. }) = store.check() else {
        panic!("different servers were accepted");
    };
    let mut systems = servers.each_ref().map(|server| {
        let sql = "SELECT system_identifier::text FROM pg_control_system()";
        let mut client = Client::connect(server.url(), NoTls).unwrap();
        client.query_one(sql, &[]).unwrap().get::<_, String>(0)
    });
    systems.sort();
    let [one, two] = systems;
    let expected = format!(
        "statements reach different databases (postgres of system {one}, postgres of system {two}), so the \
         session of one call is missing for another: connect to one server, without a pooler or load balancer that \
         distributes statements"
    );
    assert_eq!(problems, [expected]);
}

fn by_a_load_balancer(servers: &[Server; 2]) {
    let configs: [Config; 2] = servers
        .each_ref()
        .map(|server| server.url().parse().unwrap());
    let proxy = TcpProxy::between(configs.to_vec());
    let store = |proxy: &TcpProxy| {
        let options = format!(
            "host=127.0.0.1 port={} user=postgres dbname=postgres sslmode=disable",
            proxy.port()
        );
        PostgresStore::connect(options.parse::<ConnectOptions>().unwrap()).unwrap()
    };
    assert_reported(&store(&proxy), servers);
    store(&TcpProxy::to(&configs[0])).check().unwrap();
}

/// PgBouncer opens connections to its servers in turn, and gives each transaction of a client the next of them.
fn by_a_pooler(servers: &[Server; 2]) {
    let [one, two] = servers.each_ref().map(|server| {
        let config: Config = server.url().parse().unwrap();
        match &config.get_hosts()[0] {
            Host::Unix(directory) => (directory.display().to_string(), config.get_ports()[0]),
            Host::Tcp(name) => panic!("{name}"),
        }
    });
    let databases = format!(
        "1\n[databases]\nsplit = host={},{} port={} dbname=postgres",
        one.0, two.0, one.1
    );
    let pooler = Pooler::builder().setting("server_round_robin", &databases);
    let Some(pooler) = pooler.start(&servers[0]).unwrap() else {
        eprintln!("skipped: there is no pgbouncer on this machine");
        return;
    };
    let mut config: Config = pooler.url().parse().unwrap();
    config.dbname("split");
    let [mut first, mut second] = [(); 2].map(|()| config.connect(NoTls).unwrap());
    // Two transactions at the same time need two connections.
    let transactions = [&mut first, &mut second].map(|client| client.transaction().unwrap());
    for mut transaction in transactions {
        transaction.batch_execute("SELECT").unwrap();
        transaction.rollback().unwrap();
    }
    assert_reported(&PostgresStore::from_client(first), servers);
}
