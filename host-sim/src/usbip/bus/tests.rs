//! The bus between a host controller made of tests and the echo device.

use super::*;
use crate::usbip::session::Device;
use crate::usbip::testing::{self, EchoDevice, control, input, out};
use usb_device::bus::UsbBusAllocator;

/// A bus with an echo device, and what a host controller would do around it.
struct Bench<'a> {
    bus: UsbIpBus,
    device: EchoDevice<'a>,
}

impl Bench<'_> {
    fn drive(&mut self) -> Vec<Completion> {
        self.device.poll(0);
        while self.bus.settle() {
            self.device.poll(0);
        }
        self.bus.take_completions()
    }

    fn submit(&mut self, submit: Submit) -> Vec<Completion> {
        self.bus.submit(submit);
        self.drive()
    }

    /// A transfer that ends at once.
    fn one(&mut self, submit: Submit) -> Completion {
        let mut completions = self.submit(submit);
        assert_eq!(completions.len(), 1, "{completions:?}");
        completions.remove(0)
    }
}

fn bench(test: impl FnOnce(Bench<'_>)) {
    let bus = UsbIpBus::new();
    let allocator = UsbBusAllocator::new(bus.clone());
    let device = EchoDevice::new(&allocator);
    test(Bench { bus, device });
}

fn get_descriptor(seqnum: u32, kind: u16, length: u16) -> Submit {
    control(seqnum, 0x80, 6, kind, length, b"")
}

#[test]
fn descriptors_are_clamped_to_what_was_asked() {
    bench(|mut bench| {
        for length in [0, 1, 8, 9, 17, 18] {
            let got = bench.one(get_descriptor(1, 0x0100, length));
            assert_eq!((got.status, got.actual_length), (Status::OK, usize::from(length)));
            assert_eq!(got.data.len(), usize::from(length));
        }
        let got = bench.one(get_descriptor(1, 0x0100, 255));
        assert_eq!((got.status, got.data.len()), (Status::OK, 18));
        assert_eq!(got.data[..8], [18, 1, 0x10, 2, 0, 0, 0, 64]);

        // The buffer is smaller than wLength says.
        let got = bench.one(Submit { length: 5, ..get_descriptor(2, 0x0100, 18) });
        assert_eq!((got.status, got.actual_length, got.data.len()), (Status::OK, 5, 5));
    });
}

#[test]
fn long_answers_come_whole_at_every_length() {
    bench(|mut bench| {
        // Below, at and above a packet and two packets; asked for exactly, less, and more.
        for have in [0, 1, 63, 64, 65, 127, 128] {
            for ask in [1, 63, 64, 65, 127, 128, 129, 1000] {
                let got = bench.one(control(1, 0xC0, testing::COUNT, have, ask, b""));
                let expected: Vec<u8> = (0..have.min(ask)).map(|byte| byte as u8).collect();
                assert_eq!((got.status, &got.data), (Status::OK, &expected), "{have} of {ask}");
            }
        }
    });
}

#[test]
fn a_short_answer_is_an_error_only_to_a_host_that_minds() {
    bench(|mut bench| {
        let got = bench.one(Submit { short_not_ok: true, ..get_descriptor(1, 0x0100, 255) });
        assert_eq!((got.status, got.actual_length), (Status::SHORT, 18));
        let got = bench.one(Submit { short_not_ok: true, ..get_descriptor(1, 0x0100, 18) });
        assert_eq!((got.status, got.actual_length), (Status::OK, 18));
    });
}

#[test]
fn control_out_data_arrives_at_every_length() {
    bench(|mut bench| {
        for length in [0, 1, 63, 64, 65, 128] {
            let data: Vec<u8> = (0..length).map(|byte| byte as u8 ^ 0x55).collect();
            let got = bench.one(control(1, 0x40, testing::STORE, 0, length, &data));
            assert_eq!((got.status, got.actual_length), (Status::OK, data.len()));
            let got = bench.one(control(2, 0xC0, testing::RECALL, 0, 255, b""));
            assert_eq!((got.status, got.data), (Status::OK, data));
        }
    });
}

#[test]
fn refused_and_unanswered_requests_stall_and_the_next_one_works() {
    bench(|mut bench| {
        let next = get_descriptor(9, 0x0100, 18);
        for refused in [
            control(1, 0xC0, testing::SILENCE, 0, 8, b""),
            control(1, 0x40, testing::SILENCE, 0, 0, b""),
            // Beyond usb-device's buffer: it says nothing at all.
            control(1, 0x40, testing::STORE, 0, 200, &[1; 200]),
            // Announces more data than it sends.
            control(1, 0x40, testing::STORE, 0, 100, &[1; 20]),
            get_descriptor(1, 0x0600, 10),
        ] {
            let got = bench.one(refused);
            assert_eq!((got.seqnum, got.status, got.actual_length), (1, Status::STALL, 0));
            assert_eq!(bench.one(next.clone()).data.len(), 18);
        }
    });
}

#[test]
fn a_header_that_contradicts_the_setup_packet_is_invalid() {
    bench(|mut bench| {
        let got = bench.one(Submit { direction: Direction::Out, ..get_descriptor(1, 0x0100, 18) });
        assert_eq!((got.status, got.data.len()), (Status::INVALID, 0));
        assert_eq!(bench.one(get_descriptor(2, 0x0100, 18)).status, Status::OK);
    });
}

#[test]
fn many_control_transfers_at_once_are_answered_in_order() {
    bench(|mut bench| {
        for seqnum in 0..100 {
            bench.bus.submit(control(seqnum, 0xC0, testing::COUNT, seqnum as u16, 255, b""));
        }
        let completions = bench.drive();
        assert_eq!(completions.len(), 100);
        for (seqnum, got) in (0..).zip(completions) {
            assert_eq!((got.seqnum, got.data.len()), (seqnum, seqnum as usize));
        }
    });
}

#[test]
fn unknown_endpoints_are_not_there() {
    bench(|mut bench| {
        for endpoint in [2, 15, 16, 0x81, u32::MAX] {
            for direction in [Direction::In, Direction::Out] {
                let got = bench.one(testing::submit(1, direction, endpoint, 0, b""));
                assert_eq!(got.status, Status::NO_ENDPOINT);
            }
        }
    });
}

#[test]
fn input_waits_for_a_packet_and_packets_wait_for_input() {
    bench(|mut bench| {
        bench.drive();
        assert_eq!(bench.submit(input(1, 64)), []);
        assert_eq!(bench.submit(input(2, 64)), []);
        let got = bench.submit(out(3, &[7; 64]));
        assert_eq!(got.iter().map(|got| got.seqnum).collect::<Vec<_>>(), [3, 1]);
        assert_eq!(got[1].data, [7; 64]);

        // Three more: the first goes to the input that waits, the others wait.
        for seqnum in 10..13 {
            bench.submit(out(seqnum, &[seqnum as u8; 64]));
        }
        assert_eq!(bench.bus.pending(), Pending::default());
        assert_eq!(bench.one(input(20, 64)).data, [11; 64]);
        assert_eq!(bench.one(input(21, 64)).data, [12; 64]);
        assert_eq!(bench.submit(input(22, 64)), []);
    });
}

#[test]
fn a_buffer_smaller_than_the_packet_gets_what_fits() {
    bench(|mut bench| {
        bench.drive();
        bench.submit(out(1, &[7; 64]));
        let got = bench.one(input(2, 8));
        assert_eq!((got.status, got.actual_length, got.data), (Status::OVERFLOW, 8, vec![7; 8]));
        bench.submit(out(3, &[8; 64]));
        // A larger one ends with the first packet.
        let got = bench.one(input(4, 1000));
        assert_eq!((got.status, got.data), (Status::OK, vec![8; 64]));
    });
}

#[test]
fn output_longer_than_a_packet_is_cut_into_packets() {
    bench(|mut bench| {
        bench.drive();
        for seqnum in 1..=4 {
            bench.submit(input(seqnum, 64));
        }
        let data: Vec<u8> = (0..150).collect();
        let got = bench.submit(out(9, &data));
        let sent: Vec<u8> = got.iter().flat_map(|got| got.data.clone()).collect();
        assert_eq!(sent, data);
        let done = got.iter().find(|got| got.seqnum == 9).unwrap();
        assert_eq!((done.status, done.actual_length), (Status::OK, 150));
        // An empty transfer is an empty packet.
        let got = bench.submit(out(10, b""));
        assert_eq!(got.len(), 2);
        assert_eq!((got[1].seqnum, got[1].actual_length), (4, 0));
    });
}

#[test]
fn what_is_unlinked_in_time_never_completes() {
    bench(|mut bench| {
        bench.drive();
        bench.submit(input(1, 64));
        bench.submit(input(2, 64));
        assert_eq!(bench.bus.unlink(1), Status::UNLINKED);
        assert_eq!(bench.bus.unlink(1), Status::OK);
        let got = bench.submit(out(3, &[7; 64]));
        assert_eq!(got.iter().map(|got| got.seqnum).collect::<Vec<_>>(), [3, 2]);
        // Too late, and never heard of.
        assert_eq!(bench.bus.unlink(2), Status::OK);
        assert_eq!(bench.bus.unlink(77), Status::OK);
    });
}

#[test]
fn output_taken_back_half_read_does_not_cut_the_next() {
    bench(|mut bench| {
        bench.drive();
        bench.device.echo.deaf = true;
        bench.submit(out(1, &[1; 128]));
        bench.submit(out(2, &[2; 128]));
        let mut buf = [0; 64];
        let address = EndpointAddress::from_parts(1, UsbDirection::Out);
        assert_eq!(UsbBus::read(&bench.bus, address, &mut buf), Ok(64));
        assert_eq!(bench.bus.unlink(1), Status::UNLINKED);
        for _ in 0..2 {
            assert_eq!(UsbBus::read(&bench.bus, address, &mut buf), Ok(64));
            assert_eq!(buf, [2; 64]);
        }
        assert_eq!(UsbBus::read(&bench.bus, address, &mut buf), Err(UsbError::WouldBlock));
    });
}

#[test]
fn a_halted_endpoint_stalls_until_it_is_cleared() {
    const HALT: u16 = 0;
    let feature = |request, endpoint| {
        let mut submit = control(5, 0x02, request, HALT, 0, b"");
        submit.setup[4] = endpoint;
        submit
    };
    bench(|mut bench| {
        bench.drive();
        bench.submit(input(1, 64));
        let got = bench.submit(feature(3, 0x81));
        assert_eq!(
            got.iter().map(|got| (got.seqnum, got.status)).collect::<Vec<_>>(),
            [(1, Status::STALL), (5, Status::OK)]
        );
        assert_eq!(bench.one(input(2, 64)).status, Status::STALL);
        bench.submit(feature(3, 0x01));
        assert_eq!(bench.one(out(3, &[1; 64])).status, Status::STALL);
        bench.submit(feature(1, 0x81));
        bench.submit(feature(1, 0x01));
        bench.submit(input(4, 64));
        assert_eq!(bench.submit(out(6, &[1; 64])).len(), 2);
    });
}

#[test]
fn a_port_reset_resets_the_device() {
    bench(|mut bench| {
        let get_configuration = || control(2, 0x80, 8, 0, 1, b"");
        bench.one(control(1, 0, 9, 1, 0, b""));
        assert_eq!(bench.one(get_configuration()).data, [1]);
        assert_eq!(bench.one(control(3, 0x23, 3, 4, 0, b"")).status, Status::OK);
        assert_eq!(bench.one(get_configuration()).data, [0]);
    });
}

#[test]
fn what_waits_is_counted() {
    bench(|mut bench| {
        bench.drive();
        bench.device.echo.deaf = true;
        bench.submit(out(1, &[0; 100]));
        bench.submit(out(2, &[0; 11]));
        bench.submit(input(3, 64));
        assert_eq!(bench.bus.pending(), Pending { transfers: 3, bytes: 111 });
        bench.bus.unlink(1);
        assert_eq!(bench.bus.pending(), Pending { transfers: 2, bytes: 11 });
    });
}
