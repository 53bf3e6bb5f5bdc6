//! Changes, operations and metrics to an OpenTelemetry collector, over OTLP/gRPC.
//!
//! Each line of `watch -J` is one log record. Records wait in a bounded queue; a request that failed
//! is sent again, with longer and longer pauses, until the collector took it or said that it never
//! will. Nothing is sent twice unless a collector took a request and could not say so any more.

mod metrics;
mod queue;
mod record;

use super::limit::{Rate, Urgency};
use crate::metrics::Dropped;
use metrics::Span;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use queue::Queue;
use record::{attribute, string};
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use thiserror::Error;
use tokio::sync::Notify;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// How long a request may take.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// The pause after the first failure, and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));
/// How long lines are collected before they are sent.
const GATHER: Duration = Duration::from_millis(200);

/// Where to send, and what to say of ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpConfig {
    /// The collector, `http://HOST:PORT`.
    pub endpoint: String,
    /// Sent with each request: a collector's password, for example.
    pub headers: Vec<(String, String)>,
    /// Attributes of the resource, besides those of host and service.
    pub resource: Vec<(String, String)>,
    /// Lines in a second at most; 0 for any number.
    pub rate: u64,
    /// How often metrics are sent.
    pub metrics_interval: Duration,
}

/// Why nothing can be sent.
#[derive(Debug, Error)]
pub enum OtlpError {
    /// No address of a collector.
    #[error(
        "{0:?} is no address of a collector: give http://HOST:PORT, the one for OTLP over gRPC"
    )]
    Endpoint(String),
    /// TLS is not built in.
    #[error(
        "cannot send to {0:?}: TLS is not built in; send to a collector on this host, which can"
    )]
    Tls(String),
    /// A header that cannot be sent.
    #[error("{0:?} is no header that can be sent")]
    Header(String),
}

impl OtlpConfig {
    /// With the settings of OpenTelemetry's own environment variables, which `variable` looks up:
    /// `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SERVICE_NAME` and
    /// `OTEL_METRIC_EXPORT_INTERVAL`.
    pub fn new(endpoint: String, rate: u64, variable: impl Fn(&str) -> Option<String>) -> Self {
        let pairs = |name| variable(name).map(|text| pairs(&text)).unwrap_or_default();
        let mut resource = pairs("OTEL_RESOURCE_ATTRIBUTES");
        if let Some(name) = variable("OTEL_SERVICE_NAME") {
            resource.push(("service.name".to_owned(), name));
        }
        let interval = variable("OTEL_METRIC_EXPORT_INTERVAL").and_then(|text| text.parse().ok());
        Self {
            endpoint,
            headers: pairs("OTEL_EXPORTER_OTLP_HEADERS"),
            resource,
            rate,
            metrics_interval: interval.map_or(Duration::from_mins(1), Duration::from_millis),
        }
    }

    fn resource(&self, host: &str, run: &str) -> Resource {
        let own = [
            ("service.name", "mountwatch"),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("service.instance.id", run),
            ("host.name", host),
            ("os.type", "linux"),
        ];
        let is_given = |name: &str| self.resource.iter().any(|(key, _)| key == name);
        let own = own.into_iter().filter(|(name, _)| !is_given(name));
        let given = self.resource.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let attributes = own.chain(given).map(|(key, value)| attribute(key, string(value)));
        Resource { attributes: attributes.collect(), ..Resource::default() }
    }
}

/// `key=value,key=value`, with percent signs as in W3C baggage.
fn pairs(text: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| percent(text.trim());
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (decoded(key), decoded(value))).collect()
}

fn percent(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The end into which lines go. Cheap to clone; never blocks on the network.
#[derive(Clone, Debug)]
pub struct OtlpSender {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<(Queue, Rate)>,
    woken: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, (Queue, Rate)> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OtlpSender {
    /// Takes one line of `watch -J`. `wall_ns`: when it happened, in nanoseconds since 1970.
    pub fn send(&self, line: &str, wall_ns: u64, urgency: Urgency) {
        let now_ns = unix_ns();
        let (queue, rate) = &mut *self.shared.lock();
        if !rate.lets(urgency, now_ns) {
            queue.over_rate();
            return;
        }
        if let Ok(Value::Object(line)) = serde_json::from_str(line) {
            queue.push(&line, wall_ns, now_ns);
        }
        self.shared.woken.notify_one();
    }

    /// What did not get through so far.
    pub fn dropped(&self) -> Dropped {
        self.shared.lock().0.dropped()
    }

    /// Everything that was taken was sent or given up.
    pub fn is_idle(&self) -> bool {
        self.shared.lock().0.is_empty()
    }
}

/// The end that sends. [`Self::run`] it.
#[derive(Debug)]
pub struct Otlp {
    shared: Arc<Shared>,
    channel: Channel,
    headers: MetadataMap,
    resource: Resource,
    interval: Duration,
    start_ns: u64,
}

impl Otlp {
    /// Ready to send; no connection is made before there is something to send.
    pub fn new(config: &OtlpConfig) -> Result<(OtlpSender, Self), OtlpError> {
        let bad = || OtlpError::Endpoint(config.endpoint.clone());
        if config.endpoint.starts_with("https://") {
            return Err(OtlpError::Tls(config.endpoint.clone()));
        }
        if !config.endpoint.starts_with("http://") {
            return Err(bad());
        }
        let endpoint = Endpoint::from_shared(config.endpoint.clone()).map_err(|_| bad())?;
        let channel = endpoint.timeout(REQUEST_MAX).connect_timeout(REQUEST_MAX).connect_lazy();
        let mut headers = MetadataMap::new();
        for (key, value) in &config.headers {
            let bad = || OtlpError::Header(key.clone());
            let name: AsciiMetadataKey = key.to_ascii_lowercase().parse().map_err(|_| bad())?;
            let value: AsciiMetadataValue = value.parse().map_err(|_| bad())?;
            headers.insert(name, value);
        }
        let queue = Mutex::new((Queue::default(), Rate::new(config.rate)));
        let shared = Arc::new(Shared { queue, woken: Notify::new() });
        let start_ns = unix_ns();
        let uname = rustix::system::uname();
        let host = uname.nodename().to_string_lossy();
        let run = format!("{}-{start_ns}", std::process::id());
        let resource = config.resource(&host, &run);
        let sender = OtlpSender { shared: Arc::clone(&shared) };
        let interval = config.metrics_interval;
        Ok((sender, Self { shared, channel, headers, resource, interval, start_ns }))
    }

    /// Sends for ever. `text` gives the metrics in OpenMetrics, and may block.
    pub async fn run<F>(self, text: F)
    where
        F: Fn() -> Option<String> + Send + Sync + 'static,
    {
        tokio::join!(self.send_records(), self.send_metrics(Arc::new(text)));
    }

    async fn send_records(&self) {
        let mut client = LogsServiceClient::new(self.channel.clone());
        let mut pause = PAUSES.0;
        loop {
            let batch = self.shared.lock().0.batch();
            if batch.is_empty() {
                self.shared.woken.notified().await;
                tokio::time::sleep(GATHER).await;
                continue;
            }
            let count = batch.len();
            match client.export(self.request(self.logs(batch))).await {
                Ok(answer) => {
                    let partial = answer.into_inner().partial_success;
                    let refused = partial.map_or(0, |partial| partial.rejected_log_records);
                    self.shared.lock().0.done(count, u64::try_from(refused).unwrap_or(0));
                    pause = PAUSES.0;
                }
                Err(status) if may_be_repeated(&status) => {
                    log::debug!(
                        "the collector is not there, {pause:?} until the next try: {status}"
                    );
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
                Err(status) => {
                    log::warn!("the collector refuses {count} records: {status}");
                    self.shared.lock().0.done(count, count as u64);
                }
            }
        }
    }

    async fn send_metrics<F>(&self, text: Arc<F>)
    where
        F: Fn() -> Option<String> + Send + Sync + 'static,
    {
        let mut client = MetricsServiceClient::new(self.channel.clone());
        let mut tick = tokio::time::interval(self.interval);
        loop {
            tick.tick().await;
            let text = Arc::clone(&text);
            let Ok(Some(text)) = tokio::task::spawn_blocking(move || text()).await else {
                continue;
            };
            let span = Span { start_ns: self.start_ns, now_ns: unix_ns() };
            let metrics = metrics::metrics(&text, span);
            // The numbers go on counting: the next ones say what these would have said.
            if let Err(status) = client.export(self.request(self.metrics(metrics))).await {
                log::debug!("the collector took no metrics: {status}");
            }
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.headers.clone();
        request
    }

    fn logs(&self, log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
        let scope_logs =
            vec![ScopeLogs { scope: Some(scope()), log_records, ..ScopeLogs::default() }];
        let resource = Some(self.resource.clone());
        let logs = ResourceLogs { resource, scope_logs, ..ResourceLogs::default() };
        ExportLogsServiceRequest { resource_logs: vec![logs] }
    }

    fn metrics(
        &self,
        metrics: Vec<opentelemetry_proto::tonic::metrics::v1::Metric>,
    ) -> ExportMetricsServiceRequest {
        let scope_metrics =
            vec![ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() }];
        let resource = Some(self.resource.clone());
        let metrics = ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() };
        ExportMetricsServiceRequest { resource_metrics: vec![metrics] }
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "mountwatch".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

/// The codes for which OTLP's specification asks for another try.
fn may_be_repeated(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
            // What a connection that broke gives.
            | Code::Unknown
            | Code::Internal
    )
}

fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
