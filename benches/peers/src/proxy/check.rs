//! Measures how exact a proxy is.

use std::{
    fmt,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::Proxy;
use crate::{figures::percentile, rtt::Rtt};

const ROUND_TRIPS: usize = 1_000;

/// The largest error of the median, in microseconds.
const TOLERANCE: f64 = 50.0;

/// How much longer a round trip of one byte takes through a proxy, in microseconds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Accuracy {
    rtt_micros: Rtt,
    median: f64,
    p99: f64,
}

impl Accuracy {
    /// Measures a proxy with this time, which is started for it.
    pub(crate) fn measure(rtt: Rtt) -> Result<Accuracy> {
        let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = echo.local_addr()?.port();
        thread::spawn(move || echo.incoming().flatten().try_for_each(echo_bytes));
        let proxy = Proxy::start(rtt, &[port])?;
        let direct = percentile(&round_trips(port)?, 50).context("no round trips")?;
        let delayed = round_trips(proxy.port(0))?;
        let added = |percent| Some(percentile(&delayed, percent)? - direct);
        Ok(Accuracy {
            rtt_micros: rtt,
            median: added(50).context("no round trips")?,
            p99: added(99).context("no round trips")?,
        })
    }

    pub(crate) fn is_exact(&self) -> bool {
        let wanted = self.rtt_micros.length().as_secs_f64() * 1e6;
        (self.median - wanted).abs() <= TOLERANCE
    }
}

impl fmt::Display for Accuracy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Accuracy {
            rtt_micros,
            median,
            p99,
        } = self;
        write!(
            f,
            "{rtt_micros}: a proxy adds {median:.0} µs to a round trip (median), {p99:.0} µs (p99)"
        )
    }
}

fn echo_bytes(mut client: TcpStream) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let mut byte = [0];
    while client.read(&mut byte)? == 1 {
        client.write_all(&byte)?;
    }
    Ok(())
}

/// Returns the times of round trips, in ascending order.
fn round_trips(port: u16) -> Result<Vec<Duration>> {
    let mut echo = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    echo.set_nodelay(true)?;
    let mut times = Vec::new();
    for _ in 0..ROUND_TRIPS {
        let start = Instant::now();
        echo.write_all(&[0])?;
        echo.read_exact(&mut [0])?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}
