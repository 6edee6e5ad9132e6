//! Which CTAPHID channels are open (CTAP 2.3 §11.2.3, §11.2.9.1.3).
//!
//! However many a host opens, this takes the same few bytes: channels are numbered one after the other, and all
//! of them up to the last are open.

use crate::packet::BROADCAST;

/// How many channels are remembered that a host chose itself, by INIT on a channel that was never given to it.
const CHOSEN: usize = 4;

/// The open channels.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    /// Channels up to this one are closed: they were given out before the last reset.
    closed: u32,
    /// Channels up to this one are open.
    last: u32,
    /// Open besides: the newest chosen ones. Zero stands for none.
    chosen: [u32; CHOSEN],
    next_chosen: usize,
}

impl Channels {
    /// Opens a channel that is not open yet; never 0, never broadcast.
    pub(crate) fn allocate(&mut self) -> u32 {
        loop {
            self.last += 1;
            if self.last == BROADCAST {
                // Four thousand million channels later: start again.
                self.closed = 0;
                self.last = 1;
            }
            if !self.chosen.contains(&self.last) {
                return self.last;
            }
        }
    }

    /// Opens the channel that a host chose. The oldest of those before may be closed for it.
    pub(crate) fn open(&mut self, channel: u32) {
        if !self.is_open(channel) {
            self.chosen[self.next_chosen] = channel;
            self.next_chosen = (self.next_chosen + 1) % CHOSEN;
        }
    }

    /// Whether a host may use it. 0 and broadcast are never open.
    pub(crate) fn is_open(&self, channel: u32) -> bool {
        channel != 0
            && channel != BROADCAST
            && ((self.closed < channel && channel <= self.last) || self.chosen.contains(&channel))
    }

    /// Closes them all; none of them is given out again soon.
    pub(crate) fn close_all(&mut self) {
        self.closed = self.last;
        self.chosen = [0; CHOSEN];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_channel_is_open_and_its_neighbours_are_not() {
        let mut channels = Channels::default();
        assert!(!channels.is_open(1));
        let first = channels.allocate();
        let second = channels.allocate();
        assert_ne!(first, second);
        assert!(channels.is_open(first) && channels.is_open(second));
        for closed in [0, second + 1, 0x8000_0000, BROADCAST] {
            assert!(!channels.is_open(closed), "{closed}");
        }
    }

    #[test]
    fn a_chosen_channel_is_never_given_to_another() {
        let mut channels = Channels::default();
        channels.open(2);
        assert!(channels.is_open(2));
        assert_eq!([channels.allocate(), channels.allocate()], [1, 3]);
    }

    #[test]
    fn the_oldest_chosen_channel_goes_first() {
        let mut channels = Channels::default();
        let chosen: [u32; CHOSEN + 1] = core::array::from_fn(|i| 1000 + i as u32);
        for channel in chosen {
            channels.open(channel);
            channels.open(channel);
        }
        assert!(!channels.is_open(chosen[0]));
        assert!(chosen[1..].iter().all(|&channel| channels.is_open(channel)));
    }

    #[test]
    fn numbers_start_again_after_the_last() {
        let mut channels = Channels { closed: 7, last: BROADCAST - 2, ..Channels::default() };
        assert_eq!(channels.allocate(), BROADCAST - 1);
        assert_eq!(channels.allocate(), 1);
        assert!(channels.is_open(1));
    }

    #[test]
    fn a_reset_closes_every_channel() {
        let mut channels = Channels::default();
        let given = channels.allocate();
        channels.open(77);
        channels.close_all();
        assert!(!channels.is_open(given) && !channels.is_open(77));
        assert_ne!(channels.allocate(), given);
    }
}
