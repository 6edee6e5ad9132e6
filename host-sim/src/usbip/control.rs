//! Control transfers on endpoint 0, as a host controller runs them (USB 2.0 §8.5.3).
//!
//! A host of USB/IP hands over a whole transfer: set-up packet, buffer, length. A device speaks in packets:
//! set-up, data, status. [`ControlPipe`] stands between them. It takes one transfer at a time:
//!
//! * IN: packets are collected until one is short or `wLength` is reached; a zero-length packet that nobody
//!   asked for is ignored; then the status stage, an empty OUT packet.
//! * OUT and no data: packets of the endpoint's size, then the device's empty IN packet.
//! * A STALL ends the transfer with −EPIPE. So does a device that has gone quiet without an answer
//!   ([`ControlPipe::quiet`]): on a cable it would answer NAK for ever and the host would give up.

use super::completion::Completion;
use super::protocol::{Direction, Status, Submit};
use usb_device::{Result, UsbError};

/// The size of endpoint 0's packets, in bytes: the most that full speed allows.
pub(super) const PACKET_LEN: usize = 64;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// The set-up packet waits to be read.
    Setup,
    DataIn,
    DataOut,
    /// The status stage of an IN transfer: an empty OUT packet waits to be read.
    StatusOut,
    /// The status stage of an OUT transfer: the device has yet to send an empty packet.
    StatusIn,
}

#[derive(Debug)]
struct Transfer {
    submit: Submit,
    stage: Stage,
    /// `wLength`, or what the host's buffer holds where that is less.
    limit: usize,
    /// What came in, at most `limit` bytes.
    received: Vec<u8>,
    /// How much of `submit.data` the device has read.
    sent: usize,
    /// The packet that waits was reported by `poll`. One report each: a device that ignores it falls quiet.
    reported: bool,
}

/// What [`ControlPipe::poll`] reports, as in [`usb_device::bus::PollResult::Data`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Events {
    pub(super) setup: bool,
    pub(super) out: bool,
    pub(super) in_complete: bool,
}

/// Endpoint 0, both directions.
#[derive(Debug, Default)]
pub(super) struct ControlPipe {
    transfer: Option<Transfer>,
    /// An IN packet was taken and the device does not know yet.
    in_complete: bool,
}

impl ControlPipe {
    /// Whether no transfer runs.
    pub(super) fn is_idle(&self) -> bool {
        self.transfer.is_none()
    }

    /// Starts a transfer; the previous one has ended.
    pub(super) fn start(&mut self, submit: Submit) -> Option<Completion> {
        let length = usize::from(u16::from_le_bytes([submit.setup[6], submit.setup[7]]));
        let setup_direction = if submit.setup[0] & 0x80 != 0 { Direction::In } else { Direction::Out };
        // Without a data stage the header's direction means nothing.
        if length != 0 && submit.length != 0 && setup_direction != submit.direction {
            return Some(Completion::failed(&submit, Status::INVALID));
        }
        let carried = if submit.direction == Direction::Out { submit.data.len() } else { usize::MAX };
        let limit = length.min(submit.length).min(carried);
        self.in_complete = false;
        self.transfer = Some(Transfer {
            submit,
            stage: Stage::Setup,
            limit,
            received: Vec::new(),
            sent: 0,
            reported: false,
        });
        None
    }

    /// What the device should look at. `in_complete` comes alone: usb-device overlooks it beside an OUT packet.
    pub(super) fn poll(&mut self) -> Events {
        if std::mem::take(&mut self.in_complete) {
            return Events { in_complete: true, ..Events::default() };
        }
        let Some(transfer) = &mut self.transfer else { return Events::default() };
        match transfer.stage {
            _ if std::mem::replace(&mut transfer.reported, true) => Events::default(),
            Stage::Setup => Events { setup: true, ..Events::default() },
            Stage::DataOut | Stage::StatusOut => Events { out: true, ..Events::default() },
            Stage::DataIn | Stage::StatusIn => Events::default(),
        }
    }

    /// Whether [`Self::poll`] has something to report.
    pub(super) fn has_news(&self) -> bool {
        let waits = |transfer: &Transfer| {
            !transfer.reported && matches!(transfer.stage, Stage::Setup | Stage::DataOut | Stage::StatusOut)
        };
        self.in_complete || self.transfer.as_ref().is_some_and(waits)
    }

    /// The device reads a packet: set-up, data, or the empty one of the status stage.
    pub(super) fn read(&mut self, buf: &mut [u8]) -> (Result<usize>, Option<Completion>) {
        let Some(transfer) = &mut self.transfer else { return (Err(UsbError::WouldBlock), None) };
        match transfer.stage {
            Stage::Setup => {
                let read = copy_packet(buf, &transfer.submit.setup);
                let has_data = transfer.submit.setup[6..] != [0, 0];
                transfer.go_to(match transfer.submit.setup[0] & 0x80 != 0 {
                    _ if !has_data => Stage::StatusIn,
                    true => Stage::DataIn,
                    false => Stage::DataOut,
                });
                (read, None)
            }
            Stage::DataOut => {
                let data = &transfer.submit.data[..transfer.limit];
                let end = data.len().min(transfer.sent + PACKET_LEN);
                let read = copy_packet(buf, &data[transfer.sent..end]);
                transfer.sent = end;
                let stage = if end == data.len() { Stage::StatusIn } else { Stage::DataOut };
                transfer.go_to(stage);
                (read, None)
            }
            Stage::StatusOut => (Ok(0), self.finish(Status::OK)),
            Stage::DataIn | Stage::StatusIn => (Err(UsbError::WouldBlock), None),
        }
    }

    /// The device sends a packet.
    pub(super) fn write(&mut self, packet: &[u8]) -> (Result<usize>, Option<Completion>) {
        if packet.len() > PACKET_LEN {
            return (Err(UsbError::BufferOverflow), None);
        }
        if self.in_complete {
            return (Err(UsbError::WouldBlock), None);
        }
        let Some(transfer) = &mut self.transfer else { return (Err(UsbError::WouldBlock), None) };
        self.in_complete = true;
        let outcome = match transfer.stage {
            Stage::DataIn => {
                let room = transfer.limit - transfer.received.len();
                transfer.received.extend(&packet[..packet.len().min(room)]);
                if packet.len() < PACKET_LEN || transfer.received.len() == transfer.limit {
                    transfer.go_to(Stage::StatusOut);
                }
                None
            }
            // The empty packet after data of exactly the length asked for: nobody listens any more.
            Stage::StatusOut => None,
            Stage::StatusIn | Stage::DataOut => self.finish(Status::OK),
            // A packet before the set-up packet was read belongs to the transfer before it.
            Stage::Setup => None,
        };
        (Ok(packet.len()), outcome)
    }

    /// The device stalls endpoint 0: no to this transfer. The next set-up packet clears it.
    pub(super) fn stall(&mut self) -> Option<Completion> {
        // Before the set-up packet was read the device cannot mean this transfer.
        if self.transfer.as_ref().is_some_and(|transfer| transfer.stage == Stage::Setup) {
            return None;
        }
        self.finish(Status::STALL)
    }

    /// The device has nothing more to do: a transfer without its answer never gets one.
    pub(super) fn quiet(&mut self) -> Option<Completion> {
        match self.transfer.as_ref()?.stage {
            Stage::StatusOut => self.finish(Status::OK),
            _ => self.finish(Status::STALL),
        }
    }

    /// Takes the transfer back, if it is the one that is meant.
    pub(super) fn take_back(&mut self, seqnum: u32) -> bool {
        self.transfer.take_if(|transfer| transfer.submit.seqnum == seqnum).is_some()
    }

    /// The transfer that runs.
    pub(super) fn running(&self) -> Option<&Submit> {
        self.transfer.as_ref().map(|transfer| &transfer.submit)
    }

    fn finish(&mut self, status: Status) -> Option<Completion> {
        let Transfer { submit, received, sent, .. } = self.transfer.take()?;
        Some(match status {
            Status::OK => Completion::done(&submit, received, sent),
            _ => Completion::failed(&submit, status),
        })
    }
}

impl Transfer {
    fn go_to(&mut self, stage: Stage) {
        self.stage = stage;
        self.reported = false;
    }
}

/// Copies a packet whole or not at all.
pub(super) fn copy_packet(buf: &mut [u8], packet: &[u8]) -> Result<usize> {
    buf.get_mut(..packet.len()).ok_or(UsbError::BufferOverflow)?.copy_from_slice(packet);
    Ok(packet.len())
}
