//! A key while it is attached to a host, and its place in this machine's own kernel.

use super::bus::UsbIpBus;
use super::fido::FidoOnBus;
use super::protocol::ImportStatus;
use super::serve::{ConnectionError, serve};
use super::server::{Claim, Export, report};
use super::session::Session;
use super::stream::Stream;
use crate::attach::{AttachError, Port, Vhci};
use crate::body::{Body, BodyError};
use crate::firmware::{BoardOnBus, PoweredBoard};
use crate::key::{Lease, Powered, Shared};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use usb_device::bus::UsbBusAllocator;

/// Why a host is not served any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// It closed its connection; or the key died, which is said elsewhere.
    Left,
    /// The server stops.
    Stopped,
    /// A test cut the key's power.
    PowerCut,
}

/// A key with power, and the claim to it.
pub(super) struct Attached<'a> {
    pub(super) export: &'a Export,
    power: Power<'a>,
    power_up: Instant,
    /// Given back last, when the key is off.
    _claim: Claim<'a>,
}

/// What has power.
enum Power<'a> {
    Simulated { powered: Powered, lease: Lease<'a>, shared: Arc<Shared> },
    Board(Box<PoweredBoard<'a>>),
}

impl<'a> Attached<'a> {
    pub(super) async fn power_up(export: &'a Export, claim: Claim<'a>) -> Result<Self, ImportStatus> {
        let power = match &export.key {
            Body::Simulated(key) => {
                let shared = Shared::new();
                let powered = key.power_on(&shared).await.map_err(BodyError::from);
                powered.map(|(powered, lease)| Power::Simulated { powered, lease, shared })
            }
            Body::Board(board) => {
                let powered = board.power_on().await.map_err(BodyError::from);
                powered.map(|powered| Power::Board(Box::new(powered)))
            }
        };
        match power {
            Ok(power) => Ok(Self { export, power, power_up: Instant::now(), _claim: claim }),
            Err(error) => {
                tracing::error!("{}: {error}", export.id);
                Err(ImportStatus::DeviceError)
            }
        }
    }

    /// Serves the host until it leaves, the server stops, the power goes or the key dies. The key is to be powered
    /// down then.
    pub(super) async fn serve(
        &mut self,
        stream: &Stream,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<End, ConnectionError> {
        let bus = UsbIpBus::new();
        let mut session = Session::new(bus.clone(), self.export.id.device_id());
        let export = self.export;
        let control = export.key.control();
        let others = async {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => End::Stopped,
                () = control.wait_for_power(false) => End::PowerCut,
            }
        };
        match &mut self.power {
            Power::Simulated { powered, shared, .. } => {
                let shared = Arc::clone(shared);
                let allocator = UsbBusAllocator::new(FidoOnBus::gate(bus));
                // The shared part is new and this is its only device.
                let Some(mut device) = FidoOnBus::new(&allocator, &shared) else { return Ok(End::Left) };
                tokio::select! {
                    served = serve(stream, &mut session, &mut device, &shared.usb, self.power_up) => served.map(|()| End::Left),
                    () = powered.died() => Ok(End::Left),
                    end = others => Ok(end),
                    never = tell_when_configured(export, &shared) => match never {},
                }
            }
            Power::Board(board) => {
                let bell = board.line.bell();
                // Nobody looks into its packets: it counts as set up as soon as it is there.
                control.set_configured();
                // The bus is new: it has room for every endpoint.
                let Some(mut device) = BoardOnBus::new(bus, board) else { return Ok(End::Left) };
                tokio::select! {
                    served = serve(stream, &mut session, &mut device, bell.notify(), self.power_up) => served.map(|()| End::Left),
                    () = bell.gone() => {
                        tracing::error!("{}: the firmware has reset itself, or the emulator ended", export.id);
                        Ok(End::Left)
                    }
                    end = others => Ok(end),
                }
            }
        }
    }

    pub(super) async fn power_down(self) {
        match self.power {
            Power::Simulated { powered, lease, .. } => {
                let image = powered.off().await;
                if image.is_none() {
                    tracing::error!(
                        "{}: the key's thread died; its next attach reads the image anew",
                        self.export.id
                    );
                }
                lease.give_back(image);
            }
            Power::Board(board) => board.off().await,
        }
    }
}

/// Tells the test control when the host has set the device up.
async fn tell_when_configured(export: &Export, shared: &Shared) -> Infallible {
    // The sender is in `shared`, so the wait ends only by its condition.
    shared.configured.subscribe().wait_for(|configured| *configured).await.ok();
    export.key.control().set_configured();
    std::future::pending().await
}

/// Keeps a key plugged into the local kernel until the server stops or somebody unplugs it. A power cut unplugs it
/// for as long as it lasts. `ready` hears whether it was plugged in at first.
pub(super) async fn plug(
    export: &Export,
    vhci: &Vhci,
    mut stop: watch::Receiver<bool>,
    ready: oneshot::Sender<Result<(), AttachError>>,
) {
    let mut ready = Some(ready);
    loop {
        let (stream, mut attached, port) = match plug_in(export, vhci).await {
            Ok(plugged) => plugged,
            Err(error) => {
                match ready.take() {
                    // If nobody listens any more, nobody needs to know.
                    Some(ready) => drop(ready.send(Err(error))),
                    None => tracing::error!("{}: {error}", export.id),
                }
                return;
            }
        };
        export.key.control().set_local(true);
        if let Some(ready) = ready.take() {
            ready.send(Ok(())).ok();
        }
        let end = attached.serve(&stream, &mut stop).await;
        // If the kernel's side is closed, somebody may have plugged something else in there by now.
        if matches!(end, Ok(End::Stopped | End::PowerCut))
            && let Err(error) = port.detach()
        {
            tracing::warn!("cannot unplug {}: {error}", export.id);
        }
        drop(stream);
        attached.power_down().await;
        let cut = matches!(end, Ok(End::PowerCut));
        report(&format!("local kernel: {}", export.id), end.map(drop));
        if !cut {
            export.key.control().set_local(false);
            return;
        }
        tokio::select! {
            () = export.key.control().wait_for_power(true) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

async fn plug_in<'a>(
    export: &'a Export,
    vhci: &Vhci,
) -> Result<(Arc<Stream>, Attached<'a>, Port), AttachError> {
    let (ours, theirs) = Stream::pair().map_err(|error| AttachError::Kernel("socketpair".into(), error))?;
    let ours = Arc::new(ours);
    let claim = export.claim(&ours).await.ok_or(AttachError::Busy(export.id))?;
    let attached = Attached::power_up(export, claim).await.map_err(|_| AttachError::Key(export.id))?;
    match vhci.attach(&theirs, export.id.device_id()) {
        Ok(port) => Ok((ours, attached, port)),
        Err(error) => {
            attached.power_down().await;
            Err(error)
        }
    }
}
