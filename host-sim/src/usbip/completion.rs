//! How a transfer ended, on its way back to the host.

use super::protocol::{self, Direction, Status, Submit};

/// A transfer that is over.
#[derive(Debug, Eq, PartialEq)]
pub struct Completion {
    /// The host's number for it.
    pub seqnum: u32,
    /// The endpoint's number; 0 is the control pipe.
    pub endpoint: u32,
    /// How it ended.
    pub status: Status,
    /// How many bytes went across, either way; never more than the host asked for.
    pub actual_length: usize,
    /// `number_of_packets`, as the host wrote it.
    pub number_of_packets: i32,
    /// What an IN transfer brought.
    pub data: Vec<u8>,
}

impl Completion {
    /// An IN transfer that brought `data`.
    ///
    /// More than the host has room for is cut and says so; less is an error only to a host that minds.
    pub(super) fn received(submit: &Submit, mut data: Vec<u8>) -> Self {
        let status = if data.len() > submit.length {
            Status::OVERFLOW
        } else if data.len() < submit.length && submit.short_not_ok {
            Status::SHORT
        } else {
            Status::OK
        };
        data.truncate(submit.length);
        Self { actual_length: data.len(), data, ..Self::failed(submit, status) }
    }

    /// An OUT transfer of which the device took `length` bytes.
    pub(super) fn sent(submit: &Submit, length: usize) -> Self {
        Self { actual_length: length, ..Self::failed(submit, Status::OK) }
    }

    /// A transfer that moved nothing.
    pub(super) fn failed(submit: &Submit, status: Status) -> Self {
        let Submit { seqnum, endpoint, number_of_packets, .. } = *submit;
        Self { seqnum, endpoint, status, actual_length: 0, number_of_packets, data: Vec::new() }
    }

    /// A control transfer that went through.
    pub(super) fn done(submit: &Submit, received: Vec<u8>, sent: usize) -> Self {
        match submit.direction {
            Direction::In => Self::received(submit, received),
            Direction::Out => Self::sent(submit, sent),
        }
    }

    /// The packet that an interrupt IN transfer carries to the host.
    pub fn packet(&self) -> Option<&[u8]> {
        (self.endpoint != 0 && !self.data.is_empty()).then_some(&self.data)
    }

    /// Appends USBIP_RET_SUBMIT.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Self { seqnum, status, actual_length, number_of_packets, ref data, .. } = *self;
        protocol::ret_submit(out, seqnum, status, actual_length, number_of_packets, data);
    }
}
