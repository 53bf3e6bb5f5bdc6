//! `GET /metrics` over HTTP/1.1.

use crate::metrics::Format;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Clients at one time; the next one waits to be accepted. A scraper needs one.
const CLIENTS_MAX: usize = 32;
/// How long a client may take for its request's head.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// How long a client may take altogether: a scrape is over in milliseconds, its connection stays.
const CLIENT_MAX: Duration = Duration::from_mins(5);

/// Why no metrics are served.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The address cannot be had.
    #[error("cannot serve metrics on {0}: {1}")]
    Listen(SocketAddr, #[source] std::io::Error),
}

/// Serves metrics on an address until it is dropped. `text` makes them, and may block: it is called
/// on a thread of its own. `None` means that there is nothing to say any more.
pub async fn serve_metrics<F>(
    address: SocketAddr,
    text: F,
) -> Result<(SocketAddr, impl Future<Output = ()>), HttpError>
where
    F: Fn(Format) -> Option<String> + Send + Sync + 'static,
{
    let failed = |error| HttpError::Listen(address, error);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((bound, accept(listener, Arc::new(text))))
}

async fn accept<F>(listener: TcpListener, text: Arc<F>)
where
    F: Fn(Format) -> Option<String> + Send + Sync + 'static,
{
    let room = Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Most likely there are no descriptors left: wait until there are.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let text = Arc::clone(&text);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&text)));
            let mut server = hyper::server::conn::http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
            let served = server.serve_connection(TokioIo::new(stream), service);
            // Whatever a client does wrong is its own business.
            let _ = tokio::time::timeout(CLIENT_MAX, served).await;
            drop(place);
        });
    }
}

async fn answer<F>(
    request: Request<Incoming>,
    text: Arc<F>,
) -> Result<Response<Full<Bytes>>, Infallible>
where
    F: Fn(Format) -> Option<String> + Send + Sync + 'static,
{
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    Ok(match request.uri().path() {
        _ if !is_read => {
            let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "GET /metrics\n".into());
            refused
                .headers_mut()
                .insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
            refused
        }
        "/metrics" => {
            let accepted = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
            let format = Format::accepted(accepted.unwrap_or_default());
            match tokio::task::spawn_blocking(move || text(format)).await {
                Ok(Some(text)) => typed(StatusCode::OK, text, format.content_type()),
                _ => plain(StatusCode::SERVICE_UNAVAILABLE, "the tracker ended\n".into()),
            }
        }
        "/" => plain(StatusCode::OK, "mountwatch: metrics are at /metrics\n".into()),
        _ => plain(StatusCode::NOT_FOUND, "metrics are at /metrics\n".into()),
    })
}

fn plain(code: StatusCode, text: String) -> Response<Full<Bytes>> {
    typed(code, text, "text/plain; charset=utf-8")
}

fn typed(code: StatusCode, text: String, kind: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_scraper_gets_the_format_that_it_accepts() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (address, served) =
            serve_metrics(any, |format| Some(format!("{format:?}\n"))).await.unwrap();
        let server = tokio::spawn(served);
        let asked = tokio::task::spawn_blocking(move || {
            let open = "Accept: application/openmetrics-text;version=1.0.0\r\n";
            [
                ("GET /metrics", open, "200 OK", "OpenMetrics"),
                ("GET /metrics", "", "200 OK", "Classic"),
                ("GET /", "", "200 OK", "/metrics"),
                ("GET /etc/passwd", "", "404 Not Found", "/metrics"),
                ("POST /metrics", "", "405 Method Not Allowed", "GET"),
            ]
            .map(|(line, header, code, body)| {
                let head =
                    format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n");
                let answer = ask(address, &head);
                (line, answer.starts_with(&format!("HTTP/1.1 {code}")) && answer.contains(body))
            })
        });
        for (line, is_right) in asked.await.unwrap() {
            assert!(is_right, "{line}");
        }
        server.abort();
    }

    #[tokio::test]
    async fn an_address_in_use_is_told() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let error = serve_metrics(address, |_| None).await.err().unwrap().to_string();
        assert!(error.starts_with(&format!("cannot serve metrics on {address}: ")), "{error}");
    }
}
