//! The HID descriptors, answered before usbd-ctaphid can (HID 1.11 §6.2, §7.1; CTAP 2.3 §11.2.8).
//!
//! usbd-ctaphid 0.5.0 takes every GET_DESCRIPTOR to its interface for the report descriptor, and that one names
//! usages of its own. usb-device asks the classes in their order, so this one stands first in the list.

use usb_device::bus::UsbBus;
use usb_device::class::{ControlIn, UsbClass};
use usb_device::control::{Recipient, Request, RequestType};

/// Descriptor types of the HID class.
const HID: u8 = 0x21;
const REPORT: u8 = 0x22;

/// The device's only interface.
const FIDO_INTERFACE: u16 = 0;

/// What the host's HID driver parses: usage page FIDO, reports of 64 bytes, usages 0x20 in and 0x21 out.
const REPORT_DESCRIPTOR: [u8; 34] = [
    0x06, 0xD0, 0xF1, // usage page: FIDO alliance
    0x09, 0x01, // usage: CTAPHID
    0xA1, 0x01, // collection: application
    0x09, 0x20, // usage: data in
    0x15, 0x00, 0x26, 0xFF, 0x00, // logical minimum 0, maximum 255
    0x75, 0x08, 0x95, 0x40, // 64 fields of 8 bits
    0x81, 0x02, // input: data, variable, absolute
    0x09, 0x21, // usage: data out
    0x15, 0x00, 0x26, 0xFF, 0x00, // logical minimum 0, maximum 255
    0x75, 0x08, 0x95, 0x40, // 64 fields of 8 bits
    0x91, 0x02, // output: data, variable, absolute
    0xC0, // end of collection
];

/// The same bytes as usbd-ctaphid puts into the configuration descriptor.
const HID_DESCRIPTOR: [u8; 9] = [
    9,
    HID,
    0x11,
    0x01, // HID 1.11
    0,    // no country
    1,    // one descriptor follows
    REPORT,
    REPORT_DESCRIPTOR.len() as u8, // 34
    0,
];

/// Answers GET_DESCRIPTOR to the FIDO interface.
#[derive(Debug)]
pub(crate) struct HidDescriptors;

impl<B: UsbBus> UsbClass<B> for HidDescriptors {
    fn control_in(&mut self, transfer: ControlIn<'_, '_, '_, B>) {
        let request = transfer.request();
        let asked = (request.request_type, request.recipient, request.request, request.index);
        if asked != (RequestType::Standard, Recipient::Interface, Request::GET_DESCRIPTOR, FIDO_INTERFACE) {
            return;
        }
        let answered = match request.descriptor_type_index() {
            (HID, 0) => transfer.accept_with(&HID_DESCRIPTOR),
            (REPORT, 0) => transfer.accept_with(&REPORT_DESCRIPTOR),
            _ => transfer.reject(),
        };
        // The bus had no room for the answer: the host asks again.
        answered.ok();
    }
}
