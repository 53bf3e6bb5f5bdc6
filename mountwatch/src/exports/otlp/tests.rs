use super::*;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceResponse,
};
use std::net::SocketAddr;
use tonic::Response;

/// A collector that counts, and that fails when it is told to.
#[derive(Clone, Debug, Default)]
struct Collector {
    taken: Arc<Mutex<Vec<LogRecord>>>,
    answers: Arc<Mutex<Vec<Result<i64, Code>>>>,
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        assert_eq!(request.metadata().get("x-key").unwrap(), "a b");
        let rejected_log_records = match self.answers.lock().unwrap().pop() {
            Some(Err(code)) => return Err(Status::new(code, "as told")),
            Some(Ok(rejected)) => rejected,
            None => 0,
        };
        let logs = request.into_inner().resource_logs.remove(0);
        let resource = logs.resource.unwrap();
        assert!(resource.attributes.contains(&attribute("service.name", string("named"))));
        self.taken.lock().unwrap().extend(logs.scope_logs.into_iter().flat_map(|l| l.log_records));
        let partial = ExportLogsPartialSuccess { rejected_log_records, ..Default::default() };
        Ok(Response::new(ExportLogsServiceResponse { partial_success: Some(partial) }))
    }
}

async fn serve(collector: &Collector, address: SocketAddr) -> tokio::task::JoinHandle<()> {
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let service = LogsServiceServer::new(collector.clone());
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(async move { server.serve_with_incoming(incoming).await.unwrap() })
}

fn config(address: SocketAddr) -> OtlpConfig {
    OtlpConfig::new(format!("http://{address}"), 0, |name| match name {
        "OTEL_EXPORTER_OTLP_HEADERS" => Some("X-Key=a%20b".to_owned()),
        "OTEL_SERVICE_NAME" => Some("named".to_owned()),
        _ => None,
    })
}

async fn until_idle(sender: &OtlpSender) {
    for _ in 0..1_000 {
        if sender.is_idle() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("records are left: {sender:?}");
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn each_line_arrives_once_through_a_restart_of_the_collector() {
    let address = free_address();
    let collector = Collector::default();
    let (sender, otlp) = Otlp::new(&config(address)).unwrap();
    let sending = tokio::spawn(otlp.run(|| None));
    // Nobody is there yet; then somebody is not ready; then it goes away and comes back.
    sender.send("{\"event\":\"attach\",\"n\":0}", 1, Urgency::Line);
    tokio::time::sleep(Duration::from_millis(400)).await;
    collector
        .answers
        .lock()
        .unwrap()
        .extend([Err(Code::Unavailable), Err(Code::ResourceExhausted)]);
    let server = serve(&collector, address).await;
    until_idle(&sender).await;
    server.abort();
    let _ = server.await;
    for number in 1..2_000 {
        sender.send(&format!("{{\"event\":\"attach\",\"n\":{number}}}"), 1, Urgency::Line);
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    let server = serve(&collector, address).await;
    until_idle(&sender).await;
    let taken = collector.taken.lock().unwrap();
    let sequence: Vec<_> = taken.iter().map(|record| record.attributes[0].clone()).collect();
    let expected: Vec<_> = (1..=2_000)
        .map(|n| {
            let kind = opentelemetry_proto::tonic::common::v1::any_value::Value::IntValue(n);
            attribute("mountwatch.sequence", kind)
        })
        .collect();
    assert_eq!(sequence, expected);
    assert_eq!(sender.dropped(), Dropped::default());
    server.abort();
    sending.abort();
}

#[tokio::test]
async fn what_a_collector_refuses_is_counted_and_not_sent_again() {
    let address = free_address();
    let collector = Collector::default();
    collector.answers.lock().unwrap().extend([Ok(1), Err(Code::InvalidArgument)]);
    let server = serve(&collector, address).await;
    let (sender, otlp) = Otlp::new(&config(address)).unwrap();
    let sending = tokio::spawn(otlp.run(|| None));
    for _ in 0..2 {
        sender.send("{\"event\":\"attach\"}", 1, Urgency::Line);
        until_idle(&sender).await;
    }
    assert_eq!(sender.dropped().failed, 2);
    server.abort();
    sending.abort();
}

#[tokio::test]
async fn bad_settings_are_told_before_anything_is_sent() {
    let address = free_address();
    for (endpoint, part) in [
        ("https://a:1", "TLS is not built in"),
        ("localhost:4317", "http://HOST:PORT"),
        ("http://", "http://HOST:PORT"),
    ] {
        let config = OtlpConfig { endpoint: endpoint.to_owned(), ..config(address) };
        let error = Otlp::new(&config).err().unwrap().to_string();
        assert!(error.contains(part), "{endpoint}: {error}");
    }
    let headers = vec![("a b".to_owned(), "c".to_owned())];
    let config = OtlpConfig { headers, ..config(address) };
    assert!(Otlp::new(&config).err().unwrap().to_string().contains("a b"));
}

#[test]
fn settings_come_from_the_environment() {
    let config = OtlpConfig::new("http://a:1".into(), 5, |name| match name {
        "OTEL_RESOURCE_ATTRIBUTES" => Some("host.name=x, k8s.node.name=a%2Cb,bad".to_owned()),
        "OTEL_METRIC_EXPORT_INTERVAL" => Some("500".to_owned()),
        _ => None,
    });
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(config.resource, [pair("host.name", "x"), pair("k8s.node.name", "a,b")]);
    assert_eq!(config.metrics_interval, Duration::from_millis(500));
    let names: Vec<_> = config.resource("y", "run").attributes;
    assert_eq!(names.iter().filter(|one| one.key == "host.name").count(), 1);
}
