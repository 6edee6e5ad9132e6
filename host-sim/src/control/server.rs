//! [`ControlServer`]: the control's two ports.

use super::{Control, http};
use crate::presence::printable;
use axum::Router;
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::{fmt, io};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Why the control is not there. One line that says what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum ControlError {
    /// Other machines could reach this address.
    NotLoopback(SocketAddr),
    /// The system refused the address.
    Listen(SocketAddr, io::Error),
}

impl ControlError {
    fn is_in_use(&self) -> bool {
        matches!(self, Self::Listen(_, error) if error.kind() == io::ErrorKind::AddrInUse)
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLoopback(address) => {
                write!(
                    f,
                    "{address} can be reached from other machines; the test control is for this one only"
                )
            }
            Self::Listen(address, error) => {
                write!(f, "cannot listen on {address} for the test control: {error}; choose another port")
            }
        }
    }
}

impl std::error::Error for ControlError {}

/// Where the results of a conformance tool go.
#[derive(Debug, Default)]
pub struct ConformanceResults {
    file: Option<PathBuf>,
}

impl ConformanceResults {
    /// They are printed, and each report is added to `file`, a line of JSON each.
    pub fn new(file: Option<PathBuf>) -> Self {
        Self { file }
    }

    /// Keeps one report, and prints what it says: FIDO's tools give `passedTestsCount`, `failedTestsCount`,
    /// `failedTests`.
    pub(super) fn keep(&self, report: &Value) -> io::Result<()> {
        let mut output = io::stdout().lock();
        // Nobody may be reading; the file matters more.
        writeln!(output, "{}", summary(report)).and_then(|()| output.flush()).ok();
        if let Some(path) = &self.file {
            let mut file = OpenOptions::new().append(true).create(true).open(path)?;
            file.write_all(format!("{report}\n").as_bytes())?;
            file.sync_data()?;
        }
        Ok(())
    }
}

/// The report in lines of text.
fn summary(report: &Value) -> String {
    let count = |name| report.get(name).map_or_else(|| "?".into(), |count| printable(&count.to_string()));
    let mut text =
        format!("conformance {} passed, {} failed", count("passedTestsCount"), count("failedTestsCount"));
    for failed in report.get("failedTests").and_then(Value::as_array).into_iter().flatten() {
        let failed = failed.as_str().map_or_else(|| failed.to_string(), String::from);
        text.push_str("\nfailed ");
        text.push_str(&printable(&failed));
    }
    text
}

/// The control of keys over HTTP, for programs on this machine that are no web pages.
pub struct ControlServer {
    parts: Vec<(TcpListener, Router)>,
}

impl ControlServer {
    /// Touch and power of `controls`, the keys in their order, on `listen`, a loopback address. The paths are those
    /// of python-fido2's device suite and more; `GET /` lists them.
    ///
    /// Errors: [`ControlError`].
    pub async fn bind(listen: SocketAddr, controls: Vec<Arc<Control>>) -> Result<Self, ControlError> {
        if !listen.ip().to_canonical().is_loopback() {
            return Err(ControlError::NotLoopback(listen));
        }
        let listener = bind(listen).await?;
        Ok(Self { parts: vec![(listener, http::control(controls))] })
    }

    /// The automation that FIDO's conformance tools call, for one key, on `localhost`: both of its addresses, for
    /// some callers try only one.
    ///
    /// Errors: [`ControlError`].
    pub async fn conformance(
        port: u16,
        control: Arc<Control>,
        results: ConformanceResults,
    ) -> Result<Self, ControlError> {
        let router = http::conformance(control, Arc::new(results));
        let listener = bind((Ipv4Addr::LOCALHOST, port).into()).await?;
        let port = listener.local_addr().map_or(port, |address| address.port());
        let mut parts = vec![(listener, router.clone())];
        match bind((Ipv6Addr::LOCALHOST, port).into()).await {
            Ok(listener) => parts.push((listener, router)),
            // Whoever has it would be asked in our place.
            Err(error) if error.is_in_use() => return Err(error),
            // A machine without IPv6.
            Err(error) => tracing::info!("{error}"),
        }
        Ok(Self { parts })
    }

    /// The address that it listens on, with the port that it got.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        // There is a first part: both constructors make one.
        self.parts
            .first()
            .map_or(Err(io::ErrorKind::NotConnected.into()), |(listener, _)| listener.local_addr())
    }

    /// Serves until `stop` is done. What runs then is cut off.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let mut tasks = JoinSet::new();
        for (listener, router) in self.parts {
            tasks.spawn(async move {
                if let Err(error) = axum::serve(listener, router).await {
                    tracing::error!("the test control ended: {error}");
                }
            });
        }
        stop.await;
        tasks.shutdown().await;
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, ControlError> {
    TcpListener::bind(address).await.map_err(|error| ControlError::Listen(address, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn results_are_kept_as_lines_and_said_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        let results = ConformanceResults::new(Some(path.clone()));
        let report =
            json!({"passedTestsCount": 235, "failedTestsCount": 2, "failedTests": ["a\u{1b}[2J", {"b": 1}]});
        results.keep(&report).unwrap();
        results.keep(&json!({})).unwrap();
        let lines: Vec<Value> = std::fs::read_to_string(&path)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines, [report.clone(), json!({})]);
        assert_eq!(
            summary(&report),
            "conformance 235 passed, 2 failed\nfailed a\\u{1b}[2J\nfailed {\"b\":1}"
        );
        assert_eq!(summary(&json!([1])), "conformance ? passed, ? failed");

        let nowhere = ConformanceResults::new(Some(folder.path().to_owned()));
        assert!(nowhere.keep(&report).is_err());
    }

    #[tokio::test]
    async fn only_loopback_is_listened_on() {
        let error = ControlServer::bind("0.0.0.0:0".parse().unwrap(), Vec::new()).await.err().unwrap();
        assert!(matches!(error, ControlError::NotLoopback(_)), "{error}");
        let first = ControlServer::bind("127.0.0.1:0".parse().unwrap(), Vec::new()).await.unwrap();
        let taken = ControlServer::bind(first.local_addr().unwrap(), Vec::new()).await.err().unwrap();
        assert!(matches!(taken, ControlError::Listen(..)), "{taken}");

        // Half of localhost is taken; where there is no IPv6, there is no other half.
        let Ok(other) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await else { return };
        let port = other.local_addr().unwrap().port();
        let (control, results) = (Arc::new(Control::new(false)), ConformanceResults::default());
        assert!(ControlServer::conformance(port, control, results).await.is_err());
    }
}
