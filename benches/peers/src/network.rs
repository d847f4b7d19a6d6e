//! The servers of a run, and the ways to them.

use anyhow::{Context, Result};
use throwaway_postgres::Server;

use crate::{
    peer::{REDIS, REDIS_ALWAYS},
    protocol::Way,
    proxy::Proxy,
    redis::Redis,
    rtt::Rtt,
    run::{tcp_port, url_of},
};

/// The server or database of a peer.
pub(crate) enum Target {
    Database(String),
    Redis { is_durable: bool },
}

impl Target {
    /// Returns the server of a peer that does not use PostgreSQL.
    pub(crate) fn redis_of(peer: &str) -> Option<Target> {
        match peer {
            REDIS => Some(Target::Redis { is_durable: false }),
            REDIS_ALWAYS => Some(Target::Redis { is_durable: true }),
            _ => None,
        }
    }

    pub(crate) fn is_durable_redis(&self) -> bool {
        matches!(self, Target::Redis { is_durable: true })
    }
}

pub(crate) struct Network {
    /// The connection string of PostgreSQL, without database and port.
    server_url: String,
    redis: Vec<(bool, Redis)>,
    /// The ports of PostgreSQL and of the servers above, in this order.
    ports: Vec<u16>,
    proxies: Vec<Proxy>,
}

impl Network {
    /// Starts the Redis servers, and a proxy for each length of a round trip that needs one.
    pub(crate) fn start(postgres: &Server, redis: &[bool], rtts: &[Rtt]) -> Result<Network> {
        let start = |&is_durable| Ok((is_durable, Redis::start(is_durable)?));
        let redis = redis.iter().map(start).collect::<Result<Vec<_>>>()?;
        let mut ports = vec![tcp_port(postgres)?];
        ports.extend(redis.iter().map(|(_, redis)| redis.port));
        let delayed = rtts.iter().filter(|rtt| !rtt.is_none());
        let proxies = delayed.map(|&rtt| Proxy::start(rtt, &ports));
        Ok(Network {
            server_url: postgres.tcp_url().context("no TCP port")?.to_owned(),
            proxies: proxies.collect::<Result<_>>()?,
            redis,
            ports,
        })
    }

    pub(crate) fn way(&self, target: &Target, rtt: Rtt) -> Result<Way> {
        let place = match target {
            Target::Database(_) => 0,
            Target::Redis { is_durable } => {
                let place = self.redis.iter().position(|(is, _)| is == is_durable);
                place.context("Redis was not started")? + 1
            }
        };
        let proxy = self.proxies.iter().find(|proxy| proxy.rtt == rtt);
        let port = proxy.map_or(self.ports[place], |proxy| proxy.port(place));
        Ok(Way {
            rtt,
            url: match target {
                Target::Database(database) => url_of(&self.server_url, port, database),
                Target::Redis { .. } => format!("redis://127.0.0.1:{port}"),
            },
            proxy: proxy.map(Proxy::pid),
        })
    }
}
