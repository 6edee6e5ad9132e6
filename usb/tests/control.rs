//! Endpoint 0: descriptors and what else a host asks (USB 2.0 §9, HID 1.11 §7).

mod common;

use brasskey_usb::DeviceConfig;
use common::bus::Event;
use common::*;
use usb_device::device::UsbDeviceState;

const IN: u8 = 0x80;
const CLASS: u8 = 0x20;
const VENDOR: u8 = 0x40;
const INTERFACE: u8 = 0x01;
const ENDPOINT: u8 = 0x02;

const GET_STATUS: u8 = 0;
const CLEAR_FEATURE: u8 = 1;
const SET_FEATURE: u8 = 3;
const SET_ADDRESS: u8 = 5;
const GET_DESCRIPTOR: u8 = 6;
const SET_CONFIGURATION: u8 = 9;
const GET_INTERFACE: u8 = 10;

const DEVICE: u16 = 0x0100;
const CONFIGURATION: u16 = 0x0200;
const STRING: u16 = 0x0300;
const HID: u16 = 0x2100;
const REPORT: u16 = 0x2200;

/// What a device does with a control transfer.
#[derive(Debug, Eq, PartialEq)]
enum Outcome {
    Data(Vec<u8>),
    Done,
    Stall,
}

/// `[bmRequestType, bRequest]`, wValue, wIndex.
type Ask = ([u8; 2], u16, u16);

fn setup((kind, value, index): Ask, length: u16) -> [u8; 8] {
    let mut setup = [kind[0], kind[1], 0, 0, 0, 0, 0, 0];
    setup[2..4].copy_from_slice(&value.to_le_bytes());
    setup[4..6].copy_from_slice(&index.to_le_bytes());
    setup[6..8].copy_from_slice(&length.to_le_bytes());
    setup
}

fn get(wire: &mut Wire, ask: Ask, length: u16) -> Outcome {
    wire.bus.host_sets_up(setup(ask, length));
    wire.poll();
    let mut data = vec![];
    while data.len() < usize::from(length) {
        if wire.bus.is_control_stalled() {
            return Outcome::Stall;
        }
        let packet = wire.bus.host_takes(0).unwrap_or_else(|| panic!("no answer to {ask:02x?}"));
        wire.poll();
        data.extend(&packet);
        if packet.len() < 64 {
            break;
        }
    }
    wire.bus.host_sends(0, &[]);
    wire.poll();
    // The empty packet after a full last one, which nobody fetched.
    wire.bus.host_takes(0);
    wire.poll();
    Outcome::Data(data)
}

fn set(wire: &mut Wire, ask: Ask, data: &[u8]) -> Outcome {
    wire.bus.host_sets_up(setup(ask, data.len() as u16));
    wire.poll();
    for packet in data.chunks(64) {
        if wire.bus.is_control_stalled() {
            return Outcome::Stall;
        }
        wire.bus.host_sends(0, packet);
        wire.poll();
    }
    if wire.bus.is_control_stalled() {
        return Outcome::Stall;
    }
    let status = wire.bus.host_takes(0).unwrap_or_else(|| panic!("no answer to {ask:02x?}"));
    wire.poll();
    assert!(status.is_empty());
    Outcome::Done
}

#[track_caller]
fn data(outcome: Outcome) -> Vec<u8> {
    match outcome {
        Outcome::Data(data) => data,
        other => panic!("{other:?}"),
    }
}

/// The string at an index.
#[track_caller]
fn string(wire: &mut Wire, index: u8) -> String {
    let bytes = data(get(wire, ([IN, GET_DESCRIPTOR], STRING | u16::from(index), 0x0409), 255));
    assert_eq!((usize::from(bytes[0]), bytes[1]), (bytes.len(), 3));
    let units: Vec<u16> = bytes[2..].chunks(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
    String::from_utf16(&units).unwrap()
}

#[test]
fn a_host_enumerates_it() {
    let mut wire = Wire::new();
    assert_eq!(wire.device.state(), UsbDeviceState::Default);
    let device = data(get(&mut wire, ([IN, GET_DESCRIPTOR], DEVICE, 0), 64));
    assert_eq!(device.len(), 18);
    assert_eq!(device[2..4], 0x0200_u16.to_le_bytes(), "USB 2.0");
    assert_eq!(device[7], 64, "endpoint 0 has packets of 64 bytes");
    assert_eq!(device[8..12], [0x09, 0x12, 0x01, 0x00]);
    assert_eq!(set(&mut wire, ([0, SET_ADDRESS], 5, 0), &[]), Outcome::Done);
    assert_eq!(wire.device.state(), UsbDeviceState::Addressed);

    let configuration = data(get(&mut wire, ([IN, GET_DESCRIPTOR], CONFIGURATION, 0), 9));
    let length = u16::from_le_bytes([configuration[2], configuration[3]]);
    let configuration = data(get(&mut wire, ([IN, GET_DESCRIPTOR], CONFIGURATION, 0), length));
    assert_eq!(configuration.len(), usize::from(length));
    assert_eq!(configuration[9..18], [9, 4, 0, 0, 2, 3, 0, 0, 0], "one HID interface, two endpoints");
    assert_eq!(configuration[18..27], [9, 0x21, 0x11, 0x01, 0, 1, 0x22, 34, 0]);
    assert_eq!(configuration[27..33], [7, 5, 0x01, 3, 64, 0]);
    assert_eq!(configuration[34..40], [7, 5, 0x81, 3, 64, 0]);
    assert_eq!(set(&mut wire, ([0, SET_CONFIGURATION], 1, 0), &[]), Outcome::Done);
    assert_eq!(wire.device.state(), UsbDeviceState::Configured);
    // SET_IDLE, which Linux sends.
    assert_eq!(set(&mut wire, ([CLASS | INTERFACE, 0x0A], 0, 0), &[]), Outcome::Done);
    let one = wire.open();
    wire.assert_serves(one);
}

#[test]
fn hid_and_report_descriptors_are_told_apart() {
    let mut wire = Wire::new();
    let hid = data(get(&mut wire, ([IN | INTERFACE, GET_DESCRIPTOR], HID, 0), 64));
    assert_eq!(hid, [9, 0x21, 0x11, 0x01, 0, 1, 0x22, 34, 0]);
    let report = data(get(&mut wire, ([IN | INTERFACE, GET_DESCRIPTOR], REPORT, 0), 255));
    let fido = [
        0x06, 0xD0, 0xF1, 0x09, 0x01, 0xA1, 0x01, 0x09, 0x20, 0x15, 0x00, 0x26, 0xFF, 0x00, 0x75, 0x08, 0x95,
        0x40, 0x81, 0x02, 0x09, 0x21, 0x15, 0x00, 0x26, 0xFF, 0x00, 0x75, 0x08, 0x95, 0x40, 0x91, 0x02, 0xC0,
    ];
    assert_eq!(report, fido);
    // Never more than was asked for.
    assert_eq!(data(get(&mut wire, ([IN | INTERFACE, GET_DESCRIPTOR], REPORT, 0), 10)), fido[..10]);
    // Nothing else, and of no other interface.
    for (kind, index) in [(0x2300, 0), (REPORT | 1, 0), (HID | 1, 0), (DEVICE, 0), (REPORT, 1), (HID, 256)] {
        let ask = ([IN | INTERFACE, GET_DESCRIPTOR], kind, index);
        assert_eq!(get(&mut wire, ask, 64), Outcome::Stall, "{ask:02x?}");
    }
}

#[test]
fn strings_are_as_configured() {
    let config = DeviceConfig {
        vendor_id: 0x1234,
        product_id: 0x5678,
        release: 0x0203,
        manufacturer: "Zoë",
        product: "A key 🔑",
        serial: Some("42"),
        version: [5, 6, 7],
    };
    let mut wire = Wire::with_config(config);
    let device = data(get(&mut wire, ([IN, GET_DESCRIPTOR], DEVICE, 0), 18));
    assert_eq!(device[8..18], [0x34, 0x12, 0x78, 0x56, 0x03, 0x02, 1, 2, 3, 1]);
    assert_eq!(data(get(&mut wire, ([IN, GET_DESCRIPTOR], STRING, 0), 255)), [4, 3, 0x09, 0x04]);
    assert_eq!(string(&mut wire, 1), "Zoë");
    assert_eq!(string(&mut wire, 2), "A key 🔑");
    assert_eq!(string(&mut wire, 3), "42");
    // Another language, another string.
    assert_eq!(get(&mut wire, ([IN, GET_DESCRIPTOR], STRING | 1, 0x0407), 255), Outcome::Stall);
    assert_eq!(get(&mut wire, ([IN, GET_DESCRIPTOR], STRING | 4, 0x0409), 255), Outcome::Stall);
    assert_eq!(get(&mut wire, ([IN, GET_DESCRIPTOR], STRING | 255, 0x0409), 255), Outcome::Stall);
}

#[test]
fn without_a_serial_number_there_is_none() {
    let mut wire = Wire::new();
    let device = data(get(&mut wire, ([IN, GET_DESCRIPTOR], DEVICE, 0), 18));
    assert_eq!(device[16], 0);
    assert_eq!(get(&mut wire, ([IN, GET_DESCRIPTOR], STRING | 3, 0x0409), 255), Outcome::Stall);
}

#[test]
fn strings_of_more_than_63_units_are_cut() {
    let long = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-+*";
    let config = DeviceConfig {
        manufacturer: long,
        product: &long[..63],
        serial: Some(long),
        ..DeviceConfig::default()
    };
    let mut wire = Wire::with_config(config);
    for index in 1..=3 {
        assert_eq!(string(&mut wire, index), long[..63]);
    }
}

#[test]
fn unknown_requests_stall_and_the_next_one_works() {
    let mut wire = Wire::new();
    let one = wire.open();
    for ask in [
        ([IN | VENDOR, 1], 0, 0),
        ([IN | VENDOR | INTERFACE, 6], REPORT, 0),
        ([IN | CLASS | INTERFACE, 0x01], 0x0100, 0), // GET_REPORT
        ([IN | CLASS | INTERFACE, 0x02], 0, 0),      // GET_IDLE
        ([IN | 0x60, 0], 0, 0),
        ([IN, 0x55], 0, 0),
        ([IN, GET_DESCRIPTOR], 0x0600, 0), // device qualifier: high speed only
        ([IN, GET_DESCRIPTOR], 0x0F00, 0), // BOS: from USB 2.1 on
        ([IN | 0x1F, GET_DESCRIPTOR], DEVICE, 0),
    ] {
        assert_eq!(get(&mut wire, ask, 64), Outcome::Stall, "{ask:02x?}");
        assert_eq!(data(get(&mut wire, ([IN, GET_DESCRIPTOR], DEVICE, 0), 18)).len(), 18);
    }
    for ask in [
        ([VENDOR, 1], 0, 0),
        ([CLASS | INTERFACE, 0x09], 0x0200, 0), // SET_REPORT
        ([CLASS | INTERFACE, 0x0A], 0, 1),      // SET_IDLE of another interface
        ([0, SET_CONFIGURATION], 2, 0),
        ([0, SET_ADDRESS], 128, 0),
        ([0, 0x55], 0, 0),
    ] {
        for length in [0, 8, 64, 128, 129, 500] {
            assert_eq!(set(&mut wire, ask, &vec![1; length]), Outcome::Stall, "{ask:02x?} {length}");
            assert_eq!(data(get(&mut wire, ([IN, GET_DESCRIPTOR], DEVICE, 0), 18)).len(), 18);
        }
    }
    wire.assert_serves(one);
}

/// usb-device says after a reset that there was no event.
#[test]
fn what_comes_right_behind_a_reset_is_served_in_the_same_call() {
    let mut wire = Wire::new();
    wire.bus.raise(Event::Reset);
    wire.bus.host_sets_up(setup(([IN, GET_DESCRIPTOR], DEVICE, 0), 18));
    wire.poll();
    assert_eq!(wire.bus.host_takes(0).unwrap().len(), 18);
}

/// A peripheral may index by endpoint number: only those that exist reach it.
#[test]
fn features_of_endpoints_that_do_not_exist_do_no_harm() {
    let mut wire = Wire::new();
    let one = wire.open();
    for endpoint in 0..=0xFF {
        set(&mut wire, ([ENDPOINT, SET_FEATURE], 0, endpoint), &[]);
        get(&mut wire, ([IN | ENDPOINT, GET_STATUS], 0, endpoint), 2);
        set(&mut wire, ([ENDPOINT, CLEAR_FEATURE], 0, endpoint), &[]);
        get(&mut wire, ([IN | INTERFACE, GET_INTERFACE], 0, endpoint), 1);
    }
    wire.assert_serves(one);
}

#[test]
fn a_halted_endpoint_says_so() {
    let mut wire = Wire::new();
    for endpoint in [0x01, 0x81] {
        assert_eq!(set(&mut wire, ([ENDPOINT, SET_FEATURE], 0, endpoint), &[]), Outcome::Done);
        assert_eq!(data(get(&mut wire, ([IN | ENDPOINT, GET_STATUS], 0, endpoint), 2)), [1, 0]);
        assert_eq!(set(&mut wire, ([ENDPOINT, CLEAR_FEATURE], 0, endpoint), &[]), Outcome::Done);
        assert_eq!(data(get(&mut wire, ([IN | ENDPOINT, GET_STATUS], 0, endpoint), 2)), [0, 0]);
    }
}

/// Any set-up packet with any data after it: an answer, a stall or silence, never more.
#[test]
fn random_set_up_packets_do_no_harm() {
    let mut wire = Wire::new();
    let mut random = Random(0x5EED);
    for round in 0..20_000 {
        let mut setup: [u8; 8] = std::array::from_fn(|_| random.next() as u8);
        if round % 2 == 0 {
            // Likelier to mean something.
            setup[0] &= 0xA3;
            setup[1] &= 0x0F;
            setup[3] &= 0x2F;
            setup[5] = 0;
            setup[7] &= 1;
        }
        if (setup[0] & 0x7F, setup[1]) == (0, SET_ADDRESS) {
            continue;
        }
        wire.bus.host_sets_up(setup);
        wire.poll();
        for _ in 0..random.below(4) {
            match random.below(3) {
                0 => drop(wire.bus.host_takes(0)),
                1 => wire.bus.host_sends(0, &vec![0xA5; random.below(65)]),
                _ => {}
            }
            wire.poll();
        }
        if random.below(500) == 0 {
            wire.bus.raise(Event::Reset);
            wire.poll();
        }
    }
    wire.reset();
    assert_eq!(data(get(&mut wire, ([IN, GET_DESCRIPTOR], DEVICE, 0), 18)).len(), 18);
    let one = wire.open();
    wire.assert_serves(one);
}
