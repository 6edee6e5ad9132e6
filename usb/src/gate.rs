//! The gate: what usbd-ctaphid 0.5.0 does not do as CTAP 2.3 §11.2 wants it, done before packets reach it.
//!
//! A state machine without any input or output of its own. [`GatedBus`](crate::GatedBus) brings it the host's
//! packets ([`Gate::arrived`]) and the class's ([`Gate::class_writes`]), and takes packets for the class
//! ([`Gate::class_reads`]) and for the host ([`Gate::next_reply`]).
//!
//! The class is fed one whole, well-formed message at a time: PING, MSG, CBOR or WINK on an open channel, of a
//! length that fits, its packets in order. On such a message it is right: it assembles it, hands it to the
//! application, cuts the answer into packets and makes keep-alives. All else is answered here: INIT, CANCEL, every
//! error, and whatever comes while a message runs. For that the gate knows how far the class has come
//! ([`Stage`]), from the packets that go in and out.
//!
//! To end a message before its time: one that the class still assembles gets a packet of wrong sequence, whose
//! error is swallowed; one that the application has is cancelled through the [`Link`], and its answer is swallowed.

use crate::Link;
use crate::channels::Channels;
use crate::packet::{BROADCAST, FIRST_DATA_LEN, HidError, Kind, NEXT_DATA_LEN, Packet, command};
use heapless::Deque;

/// How long a message may pause between its packets, in milliseconds (CTAP 2.3 §11.2.5.2).
const MESSAGE_TIMEOUT_MS: u64 = 500;

/// How often a keep-alive goes out while the application works, in milliseconds (CTAP 2.3 §11.2.9.1.7).
const KEEPALIVE_MS: u64 = 100;

/// How long a command waits for a cancelled one to end before it hears ERR_CHANNEL_BUSY, in milliseconds.
///
/// A host that cancels goes on at once: libfido2 opens the key again and takes a busy getInfo for a key without
/// CBOR. The application ends at its next look at the [`Link`], so this is the longest computation of a slow board.
const HOLD_MS: u64 = 500;

/// Packets that wait for the host to fetch them. Two are kept for short answers, see [`Gate::class_writes`].
const REPLIES: usize = 4;

/// How many packets may leave at once, and then one in every millisecond: Linux keeps 63 reports for a reader
/// of hidraw and drops what comes beyond. A host that asks again has read them, see [`Gate::has_read_all`].
const BURST: u64 = 32;

/// CTAPHID protocol version (CTAP 2.3 §11.2.9.1.3).
const PROTOCOL_VERSION: u8 = 2;

/// INIT's capability flags: WINK and CBOR. NMSG (0x08) is absent, for the key speaks CTAP1.
const CAPABILITIES: u8 = 0x01 | 0x04;

/// INIT's nonce, in bytes.
const NONCE_LEN: usize = 8;

/// The message that the class is at.
#[derive(Debug)]
struct Transaction {
    channel: u32,
    command: u8,
    /// The sequence number that the host's next packet must have.
    sequence: u8,
    stage: Stage,
    /// Its host does not want it any more: it ends as soon as the application looks.
    cancelled: bool,
    /// Nobody is to hear of it again.
    silenced: bool,
}

/// How far it has come.
#[derive(Debug)]
enum Stage {
    /// Its packets come in.
    Assembling { missing: u16, expires: u64 },
    /// The application has it, or the class itself (PING).
    Working(Option<KeepAlive>),
    /// The answer's packets go out.
    Sending { missing: u16 },
}

#[derive(Debug)]
struct KeepAlive {
    due: u64,
    /// What the host was told last: whether a touch is awaited.
    waiting: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Gate {
    version: [u8; 3],
    max_message: u16,
    channels: Channels,
    transaction: Option<Transaction>,
    /// From the host, not looked at yet. A held command stays here, and the host's next packet on the bus.
    arrived: Option<Packet>,
    /// Until when the command in `arrived` waits for a cancelled message.
    held_until: Option<u64>,
    for_class: Option<Packet>,
    replies: Deque<Packet, REPLIES>,
    /// How many packets may leave now, and when that was reckoned.
    allowance: u64,
    reckoned_at: u64,
    /// The channel of the packet that left last; after an answer to INIT, the one that it opened.
    last_left: Option<u32>,
    suspended: bool,
    /// The application has a request that nobody waits for, from before this device was made.
    stale_request: bool,
    moved: bool,
    request_ready: bool,
    cancelled: bool,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self {
            version: [0; 3],
            max_message: 0,
            channels: Channels::default(),
            transaction: None,
            arrived: None,
            held_until: None,
            for_class: None,
            replies: Deque::new(),
            allowance: BURST,
            reckoned_at: 0,
            last_left: None,
            suspended: false,
            stale_request: false,
            moved: false,
            request_ready: false,
            cancelled: false,
        }
    }

    /// Takes what the device's maker decides: the device version for INIT, the longest message in bytes.
    pub(crate) fn configure(&mut self, version: [u8; 3], max_message: u16) {
        self.version = version;
        self.max_message = max_message;
    }

    /// A USB reset: there is a new host, which knows nothing of what was.
    pub(crate) fn reset(&mut self) {
        self.channels.close_all();
        self.arrived = None;
        self.held_until = None;
        self.replies.clear();
        self.last_left = None;
        self.silence();
        self.moved = true;
    }

    /// The bus sleeps, or is awake again. While it sleeps nothing is sent.
    pub(crate) fn set_suspended(&mut self, suspended: bool) {
        self.moved |= suspended != self.suspended;
        self.suspended = suspended;
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.suspended
    }

    /// Whether a packet of the host may come in. If not, it stays on the bus, and the host waits.
    pub(crate) fn wants_packet(&self) -> bool {
        self.arrived.is_none()
    }

    /// A packet came from the host. `None`: what came was no report of 64 bytes, and is dropped.
    pub(crate) fn arrived(&mut self, packet: Option<Packet>) {
        self.arrived = packet;
        self.moved = true;
    }

    /// Whether the class has a packet to read.
    pub(crate) fn has_packet_for_class(&self) -> bool {
        self.for_class.is_some()
    }

    /// The class reads.
    pub(crate) fn class_reads(&mut self) -> Option<Packet> {
        self.for_class.take()
    }

    /// The class writes. Returns whether the packet was taken; if not, the class will offer it again, but only
    /// if its message has more than one packet: one that is alone always finds room, because two replies are
    /// free when a packet of the host is looked at, and looking takes one at most.
    pub(crate) fn class_writes(&mut self, mut packet: Packet) -> bool {
        let room = self.room();
        // Without one this is the error that `fail_class` provoked.
        let Some(transaction) = &mut self.transaction else { return true };
        let missing = match transaction.stage {
            Stage::Assembling { .. } => return true,
            Stage::Working(_) if packet.kind() == Kind::First(command::KEEPALIVE) => {
                self.push(packet);
                return true;
            }
            Stage::Working(_) => packet.message_len().saturating_sub(FIRST_DATA_LEN),
            Stage::Sending { missing } => missing.saturating_sub(NEXT_DATA_LEN),
        };
        let alone = missing == 0 && matches!(transaction.stage, Stage::Working(_));
        let silenced = transaction.silenced;
        if !silenced && !alone && room <= 2 {
            return false;
        }
        transaction.stage = Stage::Sending { missing };
        self.moved = true;
        if is_busy_of_class(&packet) {
            // A message of several packets leaves the class waiting for the last of them once more.
            self.stale_request = true;
            packet = Packet::error(transaction.channel, HidError::ChannelBusy);
            self.fail_class();
        }
        if missing == 0 {
            self.transaction = None;
        }
        if !silenced {
            self.push(packet);
        }
        true
    }

    /// The next packet for the host, if it may leave now.
    pub(crate) fn next_reply(&self) -> Option<&Packet> {
        self.replies.front().filter(|_| self.allowance > 0 && !self.suspended)
    }

    /// It left.
    pub(crate) fn reply_left(&mut self) {
        self.last_left = self.replies.pop_front().map(|packet| match packet.kind() {
            Kind::First(command::INIT) => opened(&packet),
            _ => packet.channel(),
        });
        self.allowance = self.allowance.saturating_sub(1);
        self.moved = true;
    }

    /// Reckons how many packets may leave by now.
    pub(crate) fn pace(&mut self, now: u64) {
        let elapsed = now.saturating_sub(self.reckoned_at);
        self.allowance = self.allowance.saturating_add(elapsed).min(BURST);
        self.reckoned_at = self.reckoned_at.max(now);
    }

    /// Whether the host has read all that left, seeing that it begins a message on `channel`: nobody asks again before
    /// he has his answer, and if that answer left last, he had to read everything else before it. Another channel's
    /// reader proves nothing: each has a queue of his own, and all packets go into each.
    fn has_read_all(&self, channel: u32) -> bool {
        self.replies.is_empty() && self.last_left == Some(channel)
    }

    /// Looks at what the host sent, and at the clock. Called when nothing more can come in.
    pub(crate) fn serve(&mut self, now: u64, link: &Link) {
        if self.looks() {
            self.look(now, link);
        }
        let cancelled = self.transaction.as_ref().is_some_and(|transaction| transaction.cancelled);
        if (cancelled || core::mem::take(&mut self.stale_request)) && !link.is_cancelled() {
            link.cancel();
            self.cancelled = true;
        }
    }

    /// Whether there is room for what looking may bring.
    fn looks(&self) -> bool {
        self.room() >= 2 && self.for_class.is_none()
    }

    fn look(&mut self, now: u64, link: &Link) {
        if let Some(packet) = self.arrived.take() {
            self.receive(packet, now, link);
            if self.arrived.is_none() {
                self.held_until = None;
                self.moved = true;
            }
        } else if let Some(Transaction { channel, stage: Stage::Assembling { expires, .. }, .. }) =
            self.transaction
            && expires <= now
        {
            self.silence();
            self.error(channel, HidError::MessageTimeout);
        }
    }

    fn receive(&mut self, packet: Packet, now: u64, link: &Link) {
        match packet.kind() {
            Kind::First(command::INIT) => self.init(&packet),
            Kind::First(command::CANCEL) => self.cancel(packet.channel()),
            Kind::First(_) => self.begin(packet, now, link),
            Kind::Next(sequence) => self.go_on(packet, sequence, now, link),
        }
    }

    /// INIT (CTAP 2.3 §11.2.9.1.3): opens a channel, or ends what runs on one. Answered whatever else runs.
    fn init(&mut self, packet: &Packet) {
        let asked = packet.channel();
        if asked == 0 {
            return self.error(asked, HidError::InvalidChannel);
        }
        if usize::from(packet.message_len()) != NONCE_LEN {
            return self.error(asked, HidError::InvalidLength);
        }
        let channel = if asked == BROADCAST {
            self.channels.allocate()
        } else {
            self.channels.open(asked);
            // What is left of an answer from before goes too, but not the answer to an INIT.
            self.replies
                .retain(|reply| reply.channel() != asked || reply.kind() == Kind::First(command::INIT));
            if self.transaction.as_ref().is_some_and(|transaction| transaction.channel == asked) {
                self.silence();
            }
            asked
        };
        let mut data = [0; NONCE_LEN + 9];
        data[..NONCE_LEN].copy_from_slice(&packet.data()[..NONCE_LEN]);
        data[8..12].copy_from_slice(&channel.to_be_bytes());
        data[12] = PROTOCOL_VERSION;
        data[13..16].copy_from_slice(&self.version);
        data[16] = CAPABILITIES;
        self.push(Packet::message(asked, command::INIT, &data));
    }

    /// CANCEL (CTAP 2.3 §11.2.9.1.5): never has an answer of its own.
    fn cancel(&mut self, channel: u32) {
        if let Some(transaction) = &mut self.transaction
            && transaction.channel == channel
            && matches!(transaction.stage, Stage::Working(_))
        {
            transaction.cancelled = true;
        }
    }

    /// The first packet of a message.
    fn begin(&mut self, packet: Packet, now: u64, link: &Link) {
        let Kind::First(command) = packet.kind() else { return };
        let channel = packet.channel();
        if let Some(transaction) = &self.transaction {
            if transaction.channel == channel && matches!(transaction.stage, Stage::Assembling { .. }) {
                self.silence();
                self.error(channel, HidError::InvalidSequence);
            } else if transaction.cancelled && now < *self.held_until.get_or_insert(now + HOLD_MS) {
                self.arrived = Some(packet);
            } else {
                self.error(channel, HidError::ChannelBusy);
            }
            return;
        }
        if self.has_read_all(channel) {
            self.allowance = BURST;
        }
        if !self.channels.is_open(channel) {
            self.error(channel, HidError::InvalidChannel);
        } else if !matches!(command, command::PING | command::MSG | command::CBOR | command::WINK) {
            self.error(channel, HidError::InvalidCommand);
        } else if packet.message_len() > self.max_message {
            self.error(channel, HidError::InvalidLength);
        } else {
            let missing = packet.message_len().saturating_sub(FIRST_DATA_LEN);
            let stage = Stage::Assembling { missing, expires: now + MESSAGE_TIMEOUT_MS };
            let (cancelled, silenced) = (false, false);
            self.transaction =
                Some(Transaction { channel, command, sequence: 0, stage, cancelled, silenced });
            self.pass(packet, missing, now, link);
        }
    }

    /// A later packet. One that nobody waits for is dropped without a word (CTAP 2.3 §11.2.5.4).
    fn go_on(&mut self, packet: Packet, sequence: u8, now: u64, link: &Link) {
        let channel = packet.channel();
        let Some(transaction) = &mut self.transaction else { return };
        let Stage::Assembling { missing, expires } = &mut transaction.stage else { return };
        if transaction.channel != channel {
            return;
        }
        if transaction.sequence != sequence {
            self.silence();
            return self.error(channel, HidError::InvalidSequence);
        }
        transaction.sequence += 1;
        *missing = missing.saturating_sub(NEXT_DATA_LEN);
        *expires = now + MESSAGE_TIMEOUT_MS;
        let missing = *missing;
        self.pass(packet, missing, now, link);
    }

    /// Lets the class have a packet of the message that it assembles.
    fn pass(&mut self, packet: Packet, missing: u16, now: u64, link: &Link) {
        self.for_class = Some(packet);
        if missing > 0 {
            return;
        }
        let Some(transaction) = &mut self.transaction else { return };
        let keep_alive = KeepAlive { due: now + KEEPALIVE_MS, waiting: false };
        transaction.stage = Stage::Working((transaction.command == command::CBOR).then_some(keep_alive));
        if transaction.command != command::PING {
            link.begin(transaction.channel);
            self.request_ready = true;
        }
    }

    /// Ends the message that runs, if one does, so that nobody hears of it again.
    fn silence(&mut self) {
        let Some(transaction) = &mut self.transaction else { return };
        if self.for_class.is_some() || matches!(transaction.stage, Stage::Assembling { .. }) {
            // The class waits for a packet.
            self.fail_class();
            self.transaction = None;
        } else {
            transaction.cancelled = true;
            transaction.silenced = true;
        }
    }

    /// Gives the class a packet that it cannot want, so that it drops the message it assembles. If it assembles
    /// none, the packet is a stray one, which it drops in silence.
    fn fail_class(&mut self) {
        let Some(transaction) = &self.transaction else { return };
        // The class may be one packet behind: neither the number that it waits for nor the one after.
        let wrong = transaction.sequence.wrapping_add(2);
        self.for_class = Some(Packet::next(transaction.channel, wrong));
    }

    /// Whether the class is to make a keep-alive now, and whether it says that a touch is awaited: at each change
    /// of that, and when the last was a while ago. While packets wait for the host it has enough to read.
    pub(crate) fn keep_alive(&mut self, now: u64, link: &Link) -> Option<bool> {
        let Some(Transaction { stage: Stage::Working(Some(keep_alive)), silenced: false, .. }) =
            &mut self.transaction
        else {
            return None;
        };
        let due = keep_alive.due <= now;
        if due {
            keep_alive.due = now + KEEPALIVE_MS;
        }
        let waiting = link.is_waiting_for_user();
        if !(due || waiting != keep_alive.waiting) || !self.replies.is_empty() {
            return None;
        }
        *keep_alive = KeepAlive { due: now + KEEPALIVE_MS, waiting };
        Some(waiting)
    }

    /// When the gate must be served again even if nothing happens. `None`: never.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let of_message = match &self.transaction {
            Some(Transaction { stage: Stage::Assembling { expires, .. }, .. }) if self.looks() => {
                Some(*expires)
            }
            Some(Transaction { stage: Stage::Working(Some(keep_alive)), silenced: false, .. }) => {
                Some(keep_alive.due)
            }
            _ => None,
        };
        let of_pace = (self.allowance == 0 && !self.replies.is_empty() && !self.suspended)
            .then_some(self.reckoned_at + 1);
        [of_message, self.held_until, of_pace].into_iter().flatten().min()
    }

    /// Whether anything moved since the last call.
    pub(crate) fn take_moved(&mut self) -> bool {
        core::mem::take(&mut self.moved)
    }

    /// Whether a request was handed to the application since the last call, and whether one was cancelled.
    pub(crate) fn take_news(&mut self) -> (bool, bool) {
        // It is handed over when the class has read the last packet.
        let ready = self.for_class.is_none() && core::mem::take(&mut self.request_ready);
        (ready, core::mem::take(&mut self.cancelled))
    }

    fn room(&self) -> usize {
        REPLIES - self.replies.len()
    }

    fn error(&mut self, channel: u32, error: HidError) {
        self.push(Packet::error(channel, error));
    }

    /// Callers know that there is room.
    fn push(&mut self, packet: Packet) {
        self.replies.push_back(packet).ok();
        self.moved = true;
    }
}

/// The channel in an answer to INIT, which stands behind the nonce.
fn opened(answer: &Packet) -> u32 {
    answer.data()[NONCE_LEN..].first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// usbd-ctaphid says "busy" with code 0.
fn is_busy_of_class(packet: &Packet) -> bool {
    packet.kind() == Kind::First(command::ERROR) && packet.data()[0] == 0
}
