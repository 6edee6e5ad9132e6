//! Plugging a key into this machine's own kernel, without TCP.
//!
//! Linux's virtual host controller, `vhci_hcd`, is told by a file in sysfs which socket carries a device's
//! transfers. Here that is one end of a socket pair; the other end is served like a TCP connection after its
//! import. When either side closes its end, the device is unplugged.

use crate::usbip::protocol::{BusId, Speed};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

/// Why a key is not plugged in. One line that says what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum AttachError {
    /// The kernel has no virtual host controller.
    NoController(PathBuf),
    /// Only root may plug devices in.
    Permission(PathBuf),
    /// Every full-speed port is taken.
    NoFreePort,
    /// Another host has the key.
    Busy(BusId),
    /// The key does not start; the log says why.
    Key(BusId),
    /// The kernel refused.
    Kernel(PathBuf, io::Error),
}

impl AttachError {
    fn new(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound => Self::NoController(path),
            io::ErrorKind::PermissionDenied => Self::Permission(path),
            _ => Self::Kernel(path, error),
        }
    }
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoController(path) => write!(
                f,
                "no virtual USB controller ({} is missing); load it with `modprobe vhci-hcd`, as root",
                path.display()
            ),
            Self::Permission(path) => {
                write!(f, "no permission to write {}; --attach needs root, so run it with sudo", path.display())
            }
            Self::NoFreePort => {
                f.write_str("every port of the virtual USB controller is taken; `usbip port` shows them, `usbip detach -p` frees one")
            }
            Self::Busy(id) => write!(f, "key {id} is attached elsewhere already; detach it there"),
            Self::Key(id) => write!(f, "key {id} does not start; the line above says why"),
            Self::Kernel(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for AttachError {}

/// The virtual host controller.
#[derive(Clone, Debug)]
pub struct Vhci {
    folder: PathBuf,
}

impl Default for Vhci {
    /// The first controller of this kernel; it manages the ports of the others too.
    fn default() -> Self {
        Self::at("/sys/devices/platform/vhci_hcd.0")
    }
}

impl Vhci {
    /// A controller whose files are in `folder`.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Hands `socket` to the kernel as a full-speed device. The kernel keeps the socket; close yours.
    pub(crate) fn attach(&self, socket: impl AsFd, device_id: u32) -> Result<Port, AttachError> {
        let ports = self.free_ports()?;
        let path = self.folder.join("attach");
        let socket = socket.as_fd().as_raw_fd();
        for number in ports {
            match write(&path, &format!("{number} {socket} {device_id} {}", Speed::Full as u32)) {
                Ok(()) => return Ok(Port { folder: self.folder.clone(), number }),
                // Someone was quicker; or the port is still being freed.
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
                Err(error) => return Err(AttachError::new(&path, error)),
            }
        }
        Err(AttachError::NoFreePort)
    }

    /// The free ports for full speed, in order, over all the controllers' `status` files.
    fn free_ports(&self) -> Result<Vec<u32>, AttachError> {
        let path = self.folder.join("status");
        let mut status = fs::read_to_string(&path).map_err(|error| AttachError::new(&path, error))?;
        for number in 1.. {
            match fs::read_to_string(self.folder.join(format!("status.{number}"))) {
                Ok(more) => status.push_str(&more),
                Err(_) => break,
            }
        }
        Ok(status.lines().filter_map(free_port).collect())
    }
}

/// The port number in a line of `status` that tells of a free port for full speed:
/// `hs  0000 004 000 00000000 000000 0-0`. Superspeed ports take other devices.
fn free_port(line: &str) -> Option<u32> {
    /// `VDEV_ST_NULL` (Linux `drivers/usb/usbip/usbip_common.h`).
    const FREE: u32 = 4;
    let mut fields = line.split_ascii_whitespace();
    let (hub, port, state) = (fields.next()?, fields.next()?, fields.next()?);
    (hub == "hs" && state.parse() == Ok(FREE)).then(|| port.parse().ok())?
}

/// sysfs takes one write, of the whole text.
fn write(path: &Path, text: &str) -> io::Result<()> {
    io::Write::write_all(&mut fs::OpenOptions::new().write(true).open(path)?, text.as_bytes())
}

/// The port that a key is plugged into.
#[derive(Debug)]
pub(crate) struct Port {
    folder: PathBuf,
    number: u32,
}

impl Port {
    /// Unplugs what is there.
    pub(crate) fn detach(&self) -> io::Result<()> {
        write(&self.folder.join("detach"), &self.number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    const HEADER: &str = "hub port sta spd dev      sockfd local_busid\n";

    fn controller(status: &str) -> (tempfile::TempDir, Vhci) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("status"), format!("{HEADER}{status}")).unwrap();
        for file in ["attach", "detach"] {
            fs::write(folder.path().join(file), "").unwrap();
        }
        let vhci = Vhci::at(folder.path());
        (folder, vhci)
    }

    #[test]
    fn the_first_free_full_speed_port_is_taken() {
        let (folder, vhci) = controller(
            "hs  0000 006 003 00010002 000003 1-1\n\
             ss  0008 004 000 00000000 000000 0-0\n\
             hs  0001 004 000 00000000 000000 0-0\n",
        );
        let (socket, _peer) = UnixStream::pair().unwrap();
        let port = vhci.attach(&socket, BusId::new(7).device_id()).unwrap();
        let expected = format!("1 {} 65543 2", socket.as_raw_fd());
        assert_eq!(fs::read_to_string(folder.path().join("attach")).unwrap(), expected);
        port.detach().unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("detach")).unwrap(), "1");
    }

    #[test]
    fn further_controllers_are_looked_through() {
        let (folder, vhci) = controller("hs  0000 006 003 00010002 000003 1-1\n");
        assert!(vhci.free_ports().unwrap().is_empty());
        fs::write(
            folder.path().join("status.1"),
            format!("{HEADER}hs  0016 004 000 00000000 000000 0-0\nhs  0017 004 000 00000000 000000 0-0\n"),
        )
        .unwrap();
        assert_eq!(vhci.free_ports().unwrap(), [16, 17]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let (socket, _peer) = UnixStream::pair().unwrap();
        let (folder, vhci) = controller("hs  0000 006 003 00010002 000003 1-1\n");
        let text = |vhci: &Vhci| vhci.attach(&socket, 1).unwrap_err().to_string();
        assert!(text(&vhci).contains("usbip detach"), "{}", text(&vhci));

        let missing = Vhci::at(folder.path().join("nothing"));
        assert!(text(&missing).contains("modprobe vhci-hcd"), "{}", text(&missing));

        // Garbage in place of a list is no free port, and no panic.
        fs::write(folder.path().join("status"), "hs\nhs x\nhs 99999999999 004\n\n").unwrap();
        assert!(matches!(vhci.attach(&socket, 1), Err(AttachError::NoFreePort)));

        let denied = AttachError::new(Path::new("/sys/attach"), io::ErrorKind::PermissionDenied.into());
        assert!(denied.to_string().contains("sudo"), "{denied}");
        // Root writes everywhere; others see the error as it comes from the system.
        let attach = folder.path().join("attach");
        fs::write(folder.path().join("status"), "hs  0000 004 000 00000000 000000 0-0\n").unwrap();
        fs::set_permissions(&attach, fs::Permissions::from_mode(0o000)).unwrap();
        match vhci.attach(&socket, 1) {
            Ok(_) => assert!(rustix::process::geteuid().is_root()),
            Err(error) => assert!(matches!(error, AttachError::Permission(_)), "{error}"),
        }
    }
}
