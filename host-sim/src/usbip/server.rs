//! The server: who is exported, who may import, and the life of each connection.
//!
//! A connection is one task. It reads one operation; an import makes it the host of a key until it closes. A key
//! has one host at a time: the next one is refused as busy, unless the one before has hung up and is just being
//! cleared away. Each attach powers the key up anew from its image.

use super::attached::{Attached, plug};
use super::describe::describe;
use super::protocol::{self, BusId, DeviceSummary, ImportStatus, Operation};
use super::serve::ConnectionError;
use super::stream::Stream;
use crate::attach::{AttachError, Vhci};
use crate::body::{Body, BodyError};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, io};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long a connection may take over its operation, and over reading the answer to it.
const OPERATION_TIME: Duration = Duration::from_secs(10);

/// How long an import waits for a host that has hung up to be cleared away: longer than any command computes.
const CLEARING_TIME: Duration = Duration::from_secs(5);

/// How long to wait after a failed accept, which mostly means that descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How many bytes of a device list are gathered before they are written.
const LIST_CHUNK: usize = 64 * 1024;

/// Why a server does not start. One line that says what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServerError {
    /// The address is in use.
    AddressInUse(SocketAddr),
    /// Other machines could reach this address, and that was not allowed.
    RemoteNotAllowed(SocketAddr),
    /// The system refused the address.
    Listen(SocketAddr, io::Error),
    /// More keys than bus ids.
    TooManyKeys(usize),
    /// A key does not start.
    Key(BodyError),
    /// The USB device does not describe itself; a fault in brasskey.
    NoDescriptors,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressInUse(address) => write!(
                f,
                "{address} is in use, perhaps by another brasskey or by usbipd; stop it, or choose another --listen (port 0 takes a free one)"
            ),
            Self::RemoteNotAllowed(address) => write!(
                f,
                "{address} can be reached from other machines, and whoever reaches it can use the key; add --allow-remote if that is meant"
            ),
            Self::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::TooManyKeys(count) => {
                write!(f, "{count} keys are more than a server can number; at most {}", u16::MAX)
            }
            Self::Key(error) => error.fmt(f),
            Self::NoDescriptors => f.write_str(
                "the USB device has no descriptors; this is a fault in brasskey, please report it",
            ),
        }
    }
}

impl std::error::Error for ServerError {}

impl From<BodyError> for ServerError {
    fn from(error: BodyError) -> Self {
        Self::Key(error)
    }
}

/// A key and its host.
pub(super) struct Export {
    pub(super) id: BusId,
    pub(super) key: Body,
    host: Mutex<Option<Arc<Stream>>>,
    released: Notify,
}

impl Export {
    fn host(&self) -> MutexGuard<'_, Option<Arc<Stream>>> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `stream` the key's host, unless it has one.
    pub(super) async fn claim(&self, stream: &Arc<Stream>) -> Option<Claim<'_>> {
        let claim = async {
            loop {
                // Made before the look, so that a release in between is not missed.
                let released = self.released.notified();
                {
                    let mut host = self.host();
                    match &*host {
                        None => {
                            *host = Some(Arc::clone(stream));
                            self.key.control().set_attached(true);
                            return Some(Claim(self));
                        }
                        Some(host) if !host.is_hung_up() => return None,
                        Some(_) => {}
                    }
                }
                released.await;
            }
        };
        timeout(CLEARING_TIME, claim).await.ok().flatten()
    }
}

/// The right to a key, given back when dropped.
pub(super) struct Claim<'a>(&'a Export);

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut host = self.0.host();
        *host = None;
        self.0.key.control().set_attached(false);
        drop(host);
        self.0.released.notify_waiters();
    }
}

/// What all connections share.
struct Shelf {
    exports: Vec<Export>,
    summary: DeviceSummary,
}

impl Shelf {
    fn find(&self, bus_id: &str) -> Option<&Export> {
        let number = bus_id.strip_prefix("1-")?.parse::<usize>().ok()?;
        // "1-01" is not "1-1".
        self.exports.get(number.checked_sub(1)?).filter(|export| export.id.to_string() == bus_id)
    }
}

/// Keys, exported over USB/IP. The crate's text has an example.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    shelf: Arc<Shelf>,
    stop: watch::Sender<bool>,
    connections: JoinSet<()>,
}

impl Server {
    /// Listens on `listen` for hosts of `keys`, which get the bus ids `1-1`, `1-2`, … in their order. Call it in a
    /// tokio runtime with I/O and time.
    ///
    /// The first key is prepared, and so is every other whose image exists ([`Body::prepare`]); the rest are made
    /// when they are first attached. An address that other machines can reach is refused unless `allow_remote`.
    ///
    /// Errors: [`ServerError`].
    pub async fn bind(
        listen: SocketAddr,
        allow_remote: bool,
        keys: Vec<impl Into<Body>>,
    ) -> Result<Self, ServerError> {
        let keys: Vec<Body> = keys.into_iter().map(Into::into).collect();
        if keys.len() > usize::from(u16::MAX) {
            return Err(ServerError::TooManyKeys(keys.len()));
        }
        if !listen.ip().to_canonical().is_loopback() && !allow_remote {
            return Err(ServerError::RemoteNotAllowed(listen));
        }
        let summary = describe().ok_or(ServerError::NoDescriptors)?;
        // The port first: it costs nothing to give back, while a key that is prepared writes its image.
        let refused = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => ServerError::AddressInUse(listen),
            _ => ServerError::Listen(listen, error),
        };
        let listener = TcpListener::bind(listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        for (number, key) in keys.iter().enumerate() {
            if number == 0 || key.image().exists() {
                key.prepare().await?;
            }
        }
        let exports = (1..)
            .zip(keys)
            .map(|(number, key)| Export {
                id: BusId::new(number),
                key,
                host: Mutex::new(None),
                released: Notify::new(),
            })
            .collect();
        let shelf = Arc::new(Shelf { exports, summary });
        let (stop, connections) = (watch::Sender::new(false), JoinSet::new());
        Ok(Self { listener, address, shelf, stop, connections })
    }

    /// The address that it listens on, with the port that it got.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The bus ids of the keys, in their order.
    pub fn bus_ids(&self) -> impl Iterator<Item = BusId> + '_ {
        self.shelf.exports.iter().map(|export| export.id)
    }

    /// Plugs every key into this machine's kernel. They stay there until the server stops.
    ///
    /// Errors: [`AttachError`]; keys that were plugged in before it stay until the server is dropped.
    pub async fn attach(&mut self, vhci: &Vhci) -> Result<(), AttachError> {
        for index in 0..self.shelf.exports.len() {
            let (ready, plugged) = oneshot::channel();
            let (shelf, vhci) = (Arc::clone(&self.shelf), vhci.clone());
            let id = shelf.exports[index].id;
            let stop = self.stop.subscribe();
            self.connections.spawn(async move { plug(&shelf.exports[index], &vhci, stop, ready).await });
            plugged.await.unwrap_or(Err(AttachError::Key(id)))?;
        }
        Ok(())
    }

    /// Serves hosts until `stop` is done; then detaches them all and returns when every key is powered down.
    pub async fn serve(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => self.welcome(stream, peer),
                    Err(error) => {
                        tracing::warn!("cannot accept a connection: {error}");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = self.connections.join_next() => {}
            }
        }
        drop(self.listener);
        self.stop.send_replace(true);
        while self.connections.join_next().await.is_some() {}
    }

    fn welcome(&mut self, stream: TcpStream, peer: SocketAddr) {
        let stream = match Stream::tcp(stream) {
            Ok(stream) => Arc::new(stream),
            Err(error) => return tracing::debug!("{peer}: {error}"),
        };
        let shelf = Arc::clone(&self.shelf);
        let mut stop = self.stop.subscribe();
        self.connections.spawn(async move {
            let operation = tokio::select! {
                operation = timeout(OPERATION_TIME, read_operation(&stream)) => operation,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let served = match operation {
                Ok(Ok(Some(Operation::DeviceList))) => list_devices(&stream, &shelf).await,
                Ok(Ok(Some(Operation::Import(bus_id)))) => {
                    import(&stream, &shelf, &bus_id, &peer.to_string(), stop).await
                }
                Ok(Ok(None)) => Ok(()),
                Ok(Err(error)) => Err(error),
                Err(_) => return tracing::info!("{peer}: said nothing for {} s", OPERATION_TIME.as_secs()),
            };
            report(&peer.to_string(), served);
        });
    }
}

pub(super) fn report(peer: &str, served: Result<(), ConnectionError>) {
    match served {
        Ok(()) => {}
        // A host that closes in a hurry, or dies: everyday life.
        Err(ConnectionError::Io(error)) => tracing::info!("{peer}: connection lost: {error}"),
        Err(ConnectionError::Session(error)) => tracing::warn!("{peer}: connection ended: {error}"),
    }
}

/// Reads the operation that a connection begins with; `None` if it closes before.
async fn read_operation(stream: &Stream) -> Result<Option<Operation>, ConnectionError> {
    let mut buf = [0; Operation::MAX_LEN];
    let mut length = 0;
    loop {
        if let Some((operation, _)) = Operation::decode(&buf[..length])? {
            return Ok(Some(operation));
        }
        // Never more than the longest operation: what follows an import belongs to the session. The buffer is not
        // full here, for a full one holds an operation or an error.
        match stream.read(&mut buf[length..]).await? {
            0 => return Ok(None),
            read => length += read,
        }
    }
}

/// Answers OP_REQ_DEVLIST: all keys that have power, attached ones too.
async fn list_devices(stream: &Stream, shelf: &Shelf) -> Result<(), ConnectionError> {
    let write = async {
        let mut out = Vec::new();
        let exports: Vec<_> =
            shelf.exports.iter().filter(|export| export.key.control().has_power()).collect();
        // At most 65,535, as the server has checked.
        protocol::device_list_header(&mut out, exports.len() as u32);
        for export in exports {
            protocol::device_list_entry(&mut out, export.id, &shelf.summary);
            if out.len() >= LIST_CHUNK {
                stream.write_all(&out).await?;
                out.clear();
            }
        }
        stream.write_all(&out).await
    };
    match timeout(OPERATION_TIME, write).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    }
}

/// Answers OP_REQ_IMPORT, and serves the host from there on.
async fn import(
    stream: &Arc<Stream>,
    shelf: &Shelf,
    bus_id: &str,
    peer: &str,
    mut stop: watch::Receiver<bool>,
) -> Result<(), ConnectionError> {
    let mut reply = Vec::new();
    let attached = match shelf.find(bus_id).filter(|export| export.key.control().has_power()) {
        None => Err(ImportStatus::NoDevice),
        Some(export) => match export.claim(stream).await {
            None => Err(ImportStatus::Busy),
            // It has not waited for the host before it, which is only now cleared away.
            Some(_) if stream.is_hung_up() => return Ok(()),
            Some(claim) => Attached::power_up(export, claim).await,
        },
    };
    match attached {
        Err(status) => {
            tracing::info!("{peer}: import of {bus_id:?} refused: {status:?}");
            protocol::import_refused(&mut reply, status);
            Ok(stream.write_all(&reply).await?)
        }
        Ok(mut attached) => {
            let id = attached.export.id;
            tracing::info!("{peer}: attached {id}");
            protocol::import_accepted(&mut reply, id, &shelf.summary);
            let served = match stream.write_all(&reply).await {
                Ok(()) => attached.serve(stream, &mut stop).await.map(drop),
                Err(error) => Err(error.into()),
            };
            attached.power_down().await;
            tracing::info!("{peer}: detached {id}");
            served
        }
    }
}
