//! The bytes of the protocol, both ways.

use super::*;

fn summary() -> DeviceSummary {
    DeviceSummary {
        vendor: 0x1234,
        product: 0x5678,
        release: 0x0100,
        class: [0; 3],
        configuration: 1,
        configurations: 1,
        interfaces: vec![[3, 0, 0]],
    }
}

fn submit_bytes(direction: u32, length: i32, packets: i32, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [CMD_SUBMIT, 7, 0x0001_0001, direction, 2, URB_SHORT_NOT_OK] {
        bytes.extend(word.to_be_bytes());
    }
    for word in [length, 0, packets, 5] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend([1, 2, 3, 4, 5, 6, 7, 8]);
    bytes.extend(data);
    bytes
}

#[test]
fn operations_are_read_byte_by_byte() {
    let mut import = vec![0x01, 0x11, 0x80, 0x03, 0, 0, 0, 0];
    import.extend(b"1-42");
    import.resize(Operation::MAX_LEN, 0);
    for length in 0..import.len() {
        assert_eq!(Operation::decode(&import[..length]), Ok(None), "{length} bytes");
    }
    assert_eq!(Operation::decode(&import), Ok(Some((Operation::Import("1-42".into()), 40))));

    let list = [0x01, 0x11, 0x80, 0x05, 0, 0, 0, 0];
    for length in 0..list.len() {
        assert_eq!(Operation::decode(&list[..length]), Ok(None), "{length} bytes");
    }
    assert_eq!(Operation::decode(&list), Ok(Some((Operation::DeviceList, 8))));
}

#[test]
fn a_bus_id_without_nul_or_text_is_nobodys() {
    let mut import = vec![0x01, 0x11, 0x80, 0x03, 0, 0, 0, 0];
    import.extend([0xFF; 32]);
    let Ok(Some((Operation::Import(bus_id), 40))) = Operation::decode(&import) else { panic!() };
    assert_ne!(bus_id, BusId::new(1).to_string());
}

#[test]
fn strangers_are_found_at_the_first_bytes() {
    assert_eq!(Operation::decode(b"GET / HTTP/1.1"), Err(ProtocolError::Version(0x4745)));
    assert_eq!(Operation::decode(&[1, 0x11, 0x80, 9]), Err(ProtocolError::UnknownOperation(0x8009)));
    assert_eq!(Command::decode(&[0, 0, 0, 3]), Err(ProtocolError::UnknownCommand(3)));
}

#[test]
fn out_submit_carries_its_data() {
    let bytes = submit_bytes(0, 3, 0, b"abc");
    for length in 0..bytes.len() {
        assert_eq!(Command::decode(&bytes[..length]), Ok(None), "{length} bytes");
    }
    let Ok(Some((Command::Submit(submit), used))) = Command::decode(&bytes) else { panic!() };
    assert_eq!(used, bytes.len());
    assert_eq!(submit.data, b"abc");
    assert_eq!((submit.seqnum, submit.device_id, submit.endpoint), (7, 0x10001, 2));
    assert_eq!(submit.setup, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(submit.short_not_ok);
}

#[test]
fn in_submit_carries_none() {
    let bytes = submit_bytes(1, 64, -1, b"");
    let Ok(Some((Command::Submit(submit), HEADER_LEN))) = Command::decode(&bytes) else { panic!() };
    assert_eq!((submit.length, submit.data.len(), submit.number_of_packets), (64, 0, -1));
}

#[test]
fn hostile_headers_are_refused_before_their_data() {
    for length in [-1, i32::MIN, i32::MAX, MAX_TRANSFER_LEN as i32 + 1] {
        for direction in [0, 1] {
            let bytes = submit_bytes(direction, length, 0, b"");
            assert_eq!(Command::decode(&bytes), Err(ProtocolError::TransferLength(length)));
        }
    }
    assert_eq!(Command::decode(&submit_bytes(2, 0, 0, b"")), Err(ProtocolError::Direction(2)));
    assert_eq!(Command::decode(&submit_bytes(0, 0, 8, b"")), Err(ProtocolError::Isochronous(8)));
    assert_eq!(Command::decode(&submit_bytes(0, MAX_TRANSFER_LEN as i32, 0, b"")), Ok(None));
}

#[test]
fn replies_have_the_lengths_of_the_protocol() {
    let mut out = Vec::new();
    device_list_header(&mut out, 1);
    assert_eq!(out.len(), 12);
    device_list_entry(&mut out, BusId::new(1), &summary());
    assert_eq!(out.len(), 12 + 312 + 4);
    assert_eq!(out[12 + 256..][..4], *b"1-1\0");
    assert_eq!(out[12 + 312..], [3, 0, 0, 0]);

    let mut out = Vec::new();
    import_accepted(&mut out, BusId::new(9), &summary());
    assert_eq!(out.len(), 8 + 312);
    assert_eq!(out[8 + 288..][..12], [0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 2]);
    assert_eq!(out[8 + 300..], [0x12, 0x34, 0x56, 0x78, 1, 0, 0, 0, 0, 1, 1, 1]);

    let mut out = Vec::new();
    import_refused(&mut out, ImportStatus::Busy);
    assert_eq!(out, [1, 0x11, 0, 3, 0, 0, 0, 2]);

    let mut out = Vec::new();
    ret_submit(&mut out, 5, Status::STALL, 0, -1, b"");
    assert_eq!(out.len(), HEADER_LEN);
    assert_eq!(out[..8], [0, 0, 0, 3, 0, 0, 0, 5]);
    assert_eq!(out[20..24], (-32i32).to_be_bytes());
    assert_eq!(out[32..36], (-1i32).to_be_bytes());

    let mut out = Vec::new();
    ret_unlink(&mut out, 6, Status::UNLINKED);
    assert_eq!(out.len(), HEADER_LEN);
    assert_eq!(out[20..24], (-104i32).to_be_bytes());
}

#[test]
fn long_texts_keep_their_nul() {
    let mut out = vec![1];
    text_field(&mut out, &"x".repeat(40), BUS_ID_LEN);
    assert_eq!(out.len(), 33);
    assert_eq!(out[31..], *b"x\0");
}
