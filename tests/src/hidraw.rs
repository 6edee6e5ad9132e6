//! A key that is plugged into this machine's kernel: Linux's hidraw files, and how to find the right one.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};

use crate::error::demand;
use crate::reports::Reports;
use crate::usb::REPORT;
use crate::{Error, Result};

/// The virtual USB controller of a kernel that has USB/IP.
pub const VHCI: &str = "/sys/devices/platform/vhci_hcd.0";

/// An open hidraw file.
pub struct Hidraw {
    file: fs::File,
}

impl Hidraw {
    /// Opens a file such as `/dev/hidraw0`.
    pub fn open(path: &Path) -> Result<Self> {
        let options = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, options, Mode::empty())
            .map_err(|error| Error::Local(format!("{}: {error}", path.display())))?;
        Ok(Self { file: file.into() })
    }

    /// Waits until the file is ready for one of `events`.
    fn wait(&self, events: PollFlags, deadline: Instant) -> Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&self.file, events)], Some(&left)).map_err(std::io::Error::from)? {
            0 => Err(Error::TimedOut),
            _ => Ok(()),
        }
    }
}

impl Reports for Hidraw {
    fn write_report(&self, report: &[u8; REPORT]) -> Result<()> {
        // Before it goes the report's number, which a device without numbered reports never sees.
        let mut numbered = [0; 1 + REPORT];
        numbered[1..].copy_from_slice(report);
        let length = (&self.file).write(&numbered)?;
        demand!(length == numbered.len(), "{length} bytes of a report taken");
        Ok(())
    }

    fn read_report(&self, deadline: Instant) -> Result<[u8; REPORT]> {
        let mut report = [0; REPORT];
        loop {
            match (&self.file).read(&mut report) {
                Ok(REPORT) => return Ok(report),
                Ok(length) => return Err(Error::Violation(format!("report of {length} bytes"))),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait(PollFlags::IN, deadline)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A HID device that hangs on the virtual controller.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Node {
    /// Such as `/dev/hidraw0`.
    pub path: PathBuf,
    /// Manufacturer and product, as the kernel read them from the device.
    pub name: String,
}

/// The HID devices on the virtual USB controller, in the order of their paths.
pub fn nodes_on_vhci() -> Vec<Node> {
    nodes_below(Path::new(VHCI))
}

/// The HID devices in a folder of sysfs: a folder `hidraw` lists them, beside the `uevent` of the HID device.
fn nodes_below(folder: &Path) -> Vec<Node> {
    let mut nodes = Vec::new();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    // Links lead out of the device: to its driver, to its class, to its bus.
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    for entry in folders {
        if entry.file_name() != "hidraw" {
            nodes.extend(nodes_below(&entry.path()));
            continue;
        }
        let uevent = fs::read_to_string(folder.join("uevent")).unwrap_or_default();
        let name = uevent.lines().find_map(|line| line.strip_prefix("HID_NAME=")).unwrap_or_default();
        let files = fs::read_dir(entry.path()).into_iter().flatten().flatten();
        nodes.extend(
            files.map(|file| Node { path: Path::new("/dev").join(file.file_name()), name: name.into() }),
        );
    }
    nodes.sort_by(|a, b| a.path.cmp(&b.path));
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_found_with_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let hid = folder.path().join("usb3/3-1/3-1:1.0/0003:1209:0001.0001");
        fs::create_dir_all(hid.join("hidraw/hidraw4")).unwrap();
        fs::create_dir_all(folder.path().join("usb4/4-1/4-1:1.0")).unwrap();
        std::os::unix::fs::symlink(folder.path(), hid.join("subsystem")).unwrap();
        fs::write(hid.join("uevent"), "DRIVER=hid-generic\nHID_NAME=Brasskey A key\nHID_PHYS=x\n").unwrap();
        let expected = Node { path: "/dev/hidraw4".into(), name: "Brasskey A key".into() };
        assert_eq!(nodes_below(folder.path()), [expected]);
        assert_eq!(nodes_below(&folder.path().join("nothing")), []);
    }

    #[test]
    fn what_is_no_hidraw_file_is_an_error() {
        assert!(matches!(Hidraw::open(Path::new("/dev/hidraw-of-nobody")), Err(Error::Local(_))));
        // A file that is at its end has no report.
        let null = Hidraw::open(Path::new("/dev/null")).unwrap();
        assert!(matches!(null.read_report(Instant::now()), Err(Error::Violation(_))));
    }
}
