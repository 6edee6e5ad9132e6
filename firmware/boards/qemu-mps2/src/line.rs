//! The serial line: UART 0, and the frames that cross it.
//!
//! Bytes come in by an interrupt, the same in which USB is served. What frames brought is kept here until the main
//! loop or the USB device asks for it.

use brasskey_board_wire::{Finger, Frame, MAX_FRAME, MAX_PACKET, Start};
use brasskey_firmware_app::touch::Button;
use core::cell::RefCell;
use core::fmt::Write;
use core::panic::Location;
use cortex_m::interrupt::InterruptNumber;
use critical_section::{CriticalSection, Mutex};

/// UART 0's receive interrupt (AN386 table 3-5): number 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uart0Rx;

/// The interrupt in which everything about USB happens.
pub(crate) const UART0_RX: Uart0Rx = Uart0Rx;

// SAFETY: 0 is a number that the vector table below has.
unsafe impl InterruptNumber for Uart0Rx {
    fn number(self) -> u16 {
        0
    }
}

extern "C" fn uart0_rx() {
    crate::serve_line();
}

/// The vector table behind the processor's own exceptions. Only the first interrupt is ever unmasked.
// SAFETY: the name and the section are what cortex-m-rt's linker script looks for.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".vector_table.interrupts")]
static __INTERRUPTS: [extern "C" fn(); 1] = [uart0_rx];

/// The CMSDK UART (Arm DDI 0479, chapter 4.3): base address and registers, in words.
const UART0: *mut u32 = 0x4000_4000 as *mut u32;
const DATA: usize = 0;
const STATE: usize = 1;
const CTRL: usize = 2;
const INTCLEAR: usize = 3;
const BAUDDIV: usize = 4;
const TX_FULL: u32 = 1;
const RX_FULL: u32 = 2;
const TX_ENABLE: u32 = 1;
const RX_ENABLE: u32 = 2;
const RX_INTERRUPT_ENABLE: u32 = 8;
const RX_INTERRUPT: u32 = 2;

fn read(register: usize) -> u32 {
    // SAFETY: a register of UART 0, which exists on this board; reading it has no effect on memory.
    unsafe { UART0.add(register).read_volatile() }
}

fn write(register: usize, value: u32) {
    // SAFETY: as above; nobody but this module uses this UART.
    unsafe { UART0.add(register).write_volatile(value) }
}

/// How many endpoint numbers there are.
pub(crate) const ENDPOINTS: usize = 4;

/// A packet in an endpoint's buffer.
#[derive(Clone, Copy)]
pub(crate) struct Packet {
    length: usize,
    bytes: [u8; MAX_PACKET],
}

impl Packet {
    fn new(data: &[u8]) -> Self {
        let mut packet = Self { length: data.len().min(MAX_PACKET), bytes: [0; MAX_PACKET] };
        packet.bytes[..packet.length].copy_from_slice(&data[..packet.length]);
        packet
    }

    pub(crate) fn data(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// What the peripheral's registers would hold.
pub(crate) struct Endpoints {
    pub(crate) enabled: bool,
    pub(crate) reset: bool,
    pub(crate) setup: Option<[u8; 8]>,
    pub(crate) out: [Option<Packet>; ENDPOINTS],
    /// A packet is on its way to the host.
    pub(crate) in_busy: [bool; ENDPOINTS],
    /// The host took a packet and the device does not know yet; one bit an endpoint.
    pub(crate) in_complete: u16,
    /// The addresses that stall: OUT in the low half, IN in the high one.
    pub(crate) stalled: u32,
}

impl Endpoints {
    pub(crate) fn clear(&mut self) {
        self.setup = None;
        self.out = [None; ENDPOINTS];
        self.in_busy = [false; ENDPOINTS];
        self.in_complete = 0;
        self.stalled = 0;
    }
}

struct Line {
    received: [u8; MAX_FRAME],
    length: usize,
    /// How many frames came, and how many the host knows to be served.
    count: u16,
    told: u16,
    start: Option<Start>,
    finger: Finger,
    /// The finger was off the button since it was last looked at.
    was_up: bool,
    endpoints: Endpoints,
}

static LINE: Mutex<RefCell<Line>> = Mutex::new(RefCell::new(Line {
    received: [0; MAX_FRAME],
    length: 0,
    count: 0,
    told: 0,
    start: None,
    finger: Finger::Up,
    was_up: true,
    endpoints: Endpoints {
        enabled: false,
        reset: false,
        setup: None,
        out: [None; ENDPOINTS],
        in_busy: [false; ENDPOINTS],
        in_complete: 0,
        stalled: 0,
    },
}));

/// Turns the UART on.
pub(crate) fn enable() {
    write(BAUDDIV, 16);
    write(CTRL, TX_ENABLE | RX_ENABLE | RX_INTERRUPT_ENABLE);
}

/// Sends a frame, whole: an interrupt that sends another has to wait.
pub(crate) fn send(frame: &Frame<'_>) {
    critical_section::with(|token| send_in(token, frame));
}

fn send_in(_token: CriticalSection<'_>, frame: &Frame<'_>) {
    let mut bytes = [0; MAX_FRAME];
    let length = frame.encode(&mut bytes);
    for &byte in &bytes[..length] {
        while read(STATE) & TX_FULL != 0 {}
        write(DATA, byte.into());
    }
}

/// Lets `act` at the endpoints.
pub(crate) fn endpoints<R>(act: impl FnOnce(&mut Endpoints) -> R) -> R {
    critical_section::with(|token| act(&mut LINE.borrow_ref_mut(token).endpoints))
}

/// Takes the bytes that came. A line that carries nonsense is of no use: the board resets.
pub(crate) fn receive() {
    write(INTCLEAR, RX_INTERRUPT);
    while read(STATE) & RX_FULL != 0 {
        let byte = read(DATA) as u8; // the upper bits are zero
        let sound = critical_section::with(|token| LINE.borrow_ref_mut(token).take(token, byte));
        if !sound {
            crate::reset();
        }
    }
}

impl Line {
    /// Takes a byte. False if it cannot belong to a frame.
    fn take(&mut self, token: CriticalSection<'_>, byte: u8) -> bool {
        // A whole frame leaves the buffer at once, so it is never full.
        self.received[self.length] = byte;
        self.length += 1;
        let received = self.received;
        match Frame::decode(&received[..self.length]) {
            Ok(None) => true,
            Ok(Some((frame, _))) => {
                self.length = 0;
                self.count = self.count.wrapping_add(1);
                self.carry_out(token, frame)
            }
            Err(_) => false,
        }
    }

    fn carry_out(&mut self, token: CriticalSection<'_>, frame: Frame<'_>) -> bool {
        let endpoints = &mut self.endpoints;
        match frame {
            Frame::Start(start) => self.start = Some(start),
            Frame::Button(finger) => {
                self.finger = finger;
                self.was_up |= finger == Finger::Up;
            }
            Frame::Reset => {
                endpoints.clear();
                endpoints.reset = true;
                send_in(token, &Frame::Seen(false));
            }
            Frame::Setup(packet) => {
                endpoints.out[0] = None;
                endpoints.in_busy[0] = false;
                endpoints.in_complete &= !1;
                endpoints.setup = Some(*packet);
                send_in(token, &Frame::Seen(true));
            }
            Frame::Out(number, packet) => match endpoints.out.get_mut(usize::from(number)) {
                Some(buffer) => *buffer = Some(Packet::new(packet)),
                None => return false,
            },
            Frame::Taken(number) => match endpoints.in_busy.get_mut(usize::from(number)) {
                // A packet that a RESET or a SETUP took from the buffer meanwhile is nobody's.
                Some(busy) => endpoints.in_complete |= u16::from(core::mem::take(busy)) << number,
                None => return false,
            },
            _ => return false,
        }
        true
    }
}

/// Tells the host if everything that it sent was served.
pub(crate) fn say_idle() {
    critical_section::with(|token| {
        let mut line = LINE.borrow_ref_mut(token);
        if line.count != line.told && line.length == 0 {
            line.told = line.count;
            send_in(token, &Frame::Idle(line.count));
        }
    });
}

/// Waits for the answer to HELLO, and leaves no copy of it.
pub(crate) fn wait_for_start() -> Start {
    loop {
        let start = critical_section::with(|token| {
            let mut line = LINE.borrow_ref_mut(token);
            let start = line.start.take();
            if start.is_some() {
                line.received = [0; MAX_FRAME];
            }
            start
        });
        if let Some(start) = start {
            return start;
        }
        cortex_m::asm::wfi();
    }
}

/// Where the finger is. An emulated finger may be off the button and on it again between two looks; then it is seen
/// off the button once.
pub(crate) fn button() -> Button {
    critical_section::with(|token| {
        let mut line = LINE.borrow_ref_mut(token);
        let was_up = core::mem::take(&mut line.was_up);
        match line.finger {
            Finger::Down if !was_up => Button::Down,
            Finger::Up | Finger::Down => Button::Up,
            Finger::Refuses => Button::Refused,
        }
    })
}

/// Says where a panic was.
pub(crate) fn panicked(location: &Location<'_>) {
    let mut text = Text::new();
    // Cut where the frame ends.
    write!(text, "{}:{}", location.file(), location.line()).ok();
    send(&Frame::Panicked(text.as_str()));
}

/// Text for a frame; what has no room is left out.
pub(crate) struct Text {
    bytes: [u8; 200],
    length: usize,
}

impl Text {
    pub(crate) fn new() -> Self {
        Self { bytes: [0; 200], length: 0 }
    }

    pub(crate) fn as_str(&self) -> &str {
        // Only whole pieces of text are written.
        str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let end = self.length + text.len();
        let room = self.bytes.get_mut(self.length..end).ok_or(core::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}
