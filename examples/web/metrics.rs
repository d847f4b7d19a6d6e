//! Metrics for Prometheus.

use std::{env, error::Error, io, time::Duration};

use axum::{Router, routing::get};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::{net::TcpListener, time::sleep};

/// The upper bounds of the buckets of times, in seconds.
const SECONDS: [f64; 12] = [
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1.0, 5.0, 30.0,
];

/// How often the values since the last time are put into the buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// If `METRICS` is set to an address, for example `127.0.0.1:9464`, serves metrics at its path `/metrics`. This is not the
/// address of the site, because visitors must not see the metrics. Only stores that are made later have metrics.
pub(crate) async fn serve_metrics() -> Result<(), Box<dyn Error + Send + Sync>> {
    let Ok(address) = env::var("METRICS") else {
        return Ok(());
    };
    if !cfg!(feature = "metrics") {
        return Err("METRICS is set, but there are no metrics: add `--features metrics`".into());
    }
    let listener = TcpListener::bind(&address).await;
    let listener = listener.map_err(|error| {
        format!("cannot listen on {address}: {error}; set METRICS to another address")
    })?;
    let seconds = Matcher::Suffix("_seconds".to_owned());
    let prometheus = PrometheusBuilder::new()
        .set_buckets_for_metric(seconds, &SECONDS)?
        .install_recorder()?;
    println!("Metrics are at http://{}/metrics", listener.local_addr()?);
    tokio::spawn(upkeep(prometheus.clone()));
    tokio::spawn(answer(listener, prometheus));
    Ok(())
}

async fn answer(listener: TcpListener, prometheus: PrometheusHandle) -> io::Result<()> {
    let text = get(async move || prometheus.render());
    axum::serve(listener, Router::new().route("/metrics", text)).await
}

async fn upkeep(prometheus: PrometheusHandle) {
    loop {
        sleep(UPKEEP).await;
        prometheus.run_upkeep();
    }
}
