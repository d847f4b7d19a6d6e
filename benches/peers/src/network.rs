//! The servers of a run, and the ways to them.

use anyhow::{Context, Result};
use throwaway_postgres::Server;

use crate::{
    admin::BETWEEN_URLS,
    peer::{REDIS, REDIS_ALWAYS},
    protocol::Way,
    proxy::Proxy,
    redis::Redis,
    rtt::Rtt,
    run::{tcp_port, url_of},
};

/// The server or database of a peer.
pub(crate) enum Target {
    /// On the first server.
    Database(String),
    /// On each server.
    Databases(String),
    Redis {
        is_durable: bool,
    },
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
    /// The connection strings of the PostgreSQL servers. Database and port are replaced.
    server_urls: Vec<String>,
    redis: Vec<(bool, Redis)>,
    /// The ports of these servers, in this order.
    ports: Vec<u16>,
    proxies: Vec<Proxy>,
}

impl Network {
    /// Starts the Redis servers, and a proxy for each length of a round trip that needs one.
    pub(crate) fn start(postgres: &[Server], redis: &[bool], rtts: &[Rtt]) -> Result<Network> {
        let start = |&is_durable| Ok((is_durable, Redis::start(is_durable)?));
        let redis = redis.iter().map(start).collect::<Result<Vec<_>>>()?;
        let ports = postgres.iter().map(tcp_port);
        let mut ports = ports.collect::<Result<Vec<_>>>()?;
        ports.extend(redis.iter().map(|(_, redis)| redis.port));
        let urls = postgres
            .iter()
            .map(|server| Some(server.tcp_url()?.to_owned()));
        let delayed = rtts.iter().filter(|rtt| !rtt.is_none());
        let proxies = delayed.map(|&rtt| Proxy::start(rtt, &ports));
        Ok(Network {
            server_urls: urls.collect::<Option<_>>().context("no TCP port")?,
            proxies: proxies.collect::<Result<_>>()?,
            redis,
            ports,
        })
    }

    pub(crate) fn way(&self, target: &Target, rtt: Rtt) -> Result<Way> {
        let proxy = self.proxies.iter().find(|proxy| proxy.rtt == rtt);
        let port = |place: usize| proxy.map_or(self.ports[place], |proxy| proxy.port(place));
        let servers = |count: usize, database: &str| {
            let urls = self.server_urls[..count].iter().enumerate();
            let urls = urls.map(|(place, url)| url_of(url, port(place), database));
            urls.collect::<Vec<_>>().join(&BETWEEN_URLS.to_string())
        };
        Ok(Way {
            rtt,
            url: match target {
                Target::Database(database) => servers(1, database),
                Target::Databases(database) => servers(self.server_urls.len(), database),
                Target::Redis { is_durable } => {
                    let place = self.redis.iter().position(|(is, _)| is == is_durable);
                    let place = place.context("Redis was not started")?;
                    let port = port(self.server_urls.len() + place);
                    format!("redis://127.0.0.1:{port}")
                }
            },
            proxy: proxy.map(Proxy::pid),
        })
    }
}
