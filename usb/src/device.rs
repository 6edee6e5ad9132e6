//! [`FidoDevice`]: the whole USB device, driven by one function.

use crate::descriptors::HidDescriptors;
use crate::{GatedBus, Link, MAX_MESSAGE_SIZE};
use ctaphid_dispatch::Requester;
use usb_device::LangID;
use usb_device::bus::{UsbBus, UsbBusAllocator};
use usb_device::device::{StringDescriptors, UsbDevice, UsbDeviceBuilder, UsbDeviceState, UsbRev, UsbVidPid};
use usbd_ctaphid::CtapHid;

/// What the host reads about the device before it speaks FIDO.
#[derive(Clone, Copy, Debug)]
pub struct DeviceConfig<'a> {
    /// USB vendor ID. The default, 0x1209, is pid.codes'.
    pub vendor_id: u16,
    /// USB product ID. The default, 0x0001, is pid.codes' identifier for tests: a product that is handed on needs
    /// one of its own.
    pub product_id: u16,
    /// USB device release, bcdDevice: 0x0120 is "1.20".
    pub release: u16,
    /// The manufacturer's name. Of this and the other strings the host is shown 63 UTF-16 units at most.
    pub manufacturer: &'a str,
    /// The product's name; browsers and `fido2-token -L` show it.
    pub product: &'a str,
    /// The serial number. `None`, as FIDO wants it for privacy, unless keys must be told apart by their USB port.
    pub serial: Option<&'a str>,
    /// The device version that CTAPHID_INIT answers: major, minor, build (CTAP 2.3 §11.2.9.1.3).
    pub version: [u8; 3],
}

impl Default for DeviceConfig<'_> {
    fn default() -> Self {
        Self {
            vendor_id: 0x1209,
            product_id: 0x0001,
            release: 0x0010,
            manufacturer: "Brasskey",
            product: "Brasskey security key",
            serial: None,
            version: [0, 1, 0],
        }
    }
}

/// What [`FidoDevice::poll`] asks of its caller.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Poll {
    /// Call again at this time, in the caller's milliseconds, if nothing happens before. `None`: nothing is due,
    /// as always when the device is idle.
    pub deadline: Option<u64>,
    /// A request was handed over since the last call: let the [`Application`](crate::Application) run.
    pub request_ready: bool,
    /// The running request was cancelled since the last call: wake whoever waits for the user, to look at
    /// [`Link::is_cancelled`].
    pub cancelled: bool,
}

/// How many rounds one call serves. A long answer that nobody wants takes 129; more is a host that sends without
/// end, and then the caller has its turn before the rest.
const ROUNDS: usize = 512;

/// Endpoint 0's packets, in bytes: the most that full speed knows.
const CONTROL_PACKET_LEN: u8 = 64;

/// How much of a string usb-device can send: 128 bytes of descriptor, in UTF-16 units.
const STRING_UNITS: usize = 63;

/// A FIDO USB device: one HID interface that speaks CTAPHID.
///
/// `N` is the longest message in bytes, [`MAX_MESSAGE_SIZE`] at most, or it does not compile. It is held once here
/// and once in the channel to the application.
pub struct FidoDevice<'a, B: UsbBus, const N: usize> {
    device: UsbDevice<'a, GatedBus<B>>,
    descriptors: HidDescriptors,
    class: CtapHid<'a, 'a, 'a, GatedBus<B>, N>,
    link: &'a Link,
}

impl<'a, B: UsbBus, const N: usize> FidoDevice<'a, B, N> {
    /// Makes the device and turns the peripheral on. One per allocator: nothing else can be on that bus.
    ///
    /// A request that an earlier device left in `requester`'s channel is taken back.
    ///
    /// # Panics
    ///
    /// If the peripheral cannot give a control endpoint and one interrupt endpoint of 64 bytes in each direction.
    pub fn new(
        allocator: &'a UsbBusAllocator<GatedBus<B>>,
        mut requester: Requester<'a, N>,
        link: &'a Link,
        config: &DeviceConfig<'a>,
    ) -> Self {
        // An error says that there was nothing to take back.
        requester.cancel().ok();
        let class = CtapHid::new(allocator, requester, 0);
        let mut strings = StringDescriptors::new(LangID::EN_US)
            .manufacturer(cut(config.manufacturer))
            .product(cut(config.product));
        if let Some(serial) = config.serial {
            strings = strings.serial_number(cut(serial));
        }
        let ids = UsbVidPid(config.vendor_id, config.product_id);
        let device = UsbDeviceBuilder::new(allocator, ids)
            .usb_rev(UsbRev::Usb200)
            .device_release(config.release)
            .max_packet_size_0(CONTROL_PACKET_LEN)
            .expect("64 is one of the four sizes")
            .strings(&[strings])
            .expect("one language of sixteen")
            .build();
        let longest = const {
            assert!(N <= MAX_MESSAGE_SIZE as usize, "CTAPHID carries no longer message");
            N as u16
        };
        device.bus().gate(|gate| gate.configure(config.version, longest));
        Self { device, descriptors: HidDescriptors, class, link }
    }

    /// Serves USB: takes what the host sent, sends what is ready, and minds the time.
    ///
    /// Call it when the bus has an event, when the application answered or changed its status, and at the returned
    /// deadline. `now_ms` counts milliseconds from any start and never goes back.
    pub fn poll(&mut self, now_ms: u64) -> Poll {
        let mut settled = false;
        for _ in 0..ROUNDS {
            let events = self.device.poll(&mut [&mut self.descriptors, &mut self.class]);
            // usb-device asks the class only at an event of the bus, and the application's answer is none.
            self.class.check_for_app_response();
            let mut moved = self.device.bus().serve(now_ms, self.link);
            if let Some(waiting) = self.device.bus().gate(|gate| gate.keep_alive(now_ms, self.link)) {
                self.class.send_keepalive(waiting);
                moved = true;
            }
            if !events && !moved {
                settled = true;
                break;
            }
        }
        self.device.bus().gate(|gate| {
            let (request_ready, cancelled) = gate.take_news();
            // Nothing is due twice in one millisecond.
            let deadline = gate.deadline().map(|deadline| deadline.max(now_ms + 1));
            Poll { deadline: if settled { deadline } else { Some(now_ms) }, request_ready, cancelled }
        })
    }

    /// How far the host has set the device up.
    pub fn state(&self) -> UsbDeviceState {
        self.device.state()
    }
}

/// Whoever waits for the user's touch need not wait any longer.
impl<B: UsbBus, const N: usize> Drop for FidoDevice<'_, B, N> {
    fn drop(&mut self) {
        self.link.cancel();
    }
}

/// As much of a string as its descriptor has room for. usb-device leaves the host without any answer to a longer
/// one.
fn cut(string: &str) -> &str {
    let mut units = 0;
    let longer = string.char_indices().find(|(_, character)| {
        units += character.len_utf16();
        units > STRING_UNITS
    });
    longer.map_or(string, |(end, _)| &string[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_cut_between_characters() {
        let longest = "é".repeat(STRING_UNITS);
        assert_eq!(cut(&longest), longest);
        assert_eq!(cut(&(longest.clone() + "x")), longest);
        // Two units each: the thirty-second would end at 64.
        assert_eq!(cut(&"🔑".repeat(40)), "🔑".repeat(31));
        assert_eq!(cut(""), "");
    }
}
