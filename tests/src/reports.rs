//! What CTAPHID goes over: reports of 64 bytes to a key and from it.

use std::sync::Arc;
use std::time::Instant;

use crate::Result;
use crate::usb::REPORT;

/// A way to a key: [`usb::Device`](crate::usb::Device), or [`Hidraw`](crate::hidraw::Hidraw) of this machine's kernel.
pub trait Reports {
    /// Writes one report to the key.
    fn write_report(&self, report: &[u8; REPORT]) -> Result<()>;

    /// The next report from the key.
    ///
    /// Errors: [`Error::TimedOut`](crate::Error::TimedOut) if none came until `deadline`.
    fn read_report(&self, deadline: Instant) -> Result<[u8; REPORT]>;
}

impl<R: Reports + ?Sized> Reports for Arc<R> {
    fn write_report(&self, report: &[u8; REPORT]) -> Result<()> {
        (**self).write_report(report)
    }

    fn read_report(&self, deadline: Instant) -> Result<[u8; REPORT]> {
        (**self).read_report(deadline)
    }
}
