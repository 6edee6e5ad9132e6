//! What is kept in RAM of the discoverable credentials, so that a request reads only the records that match.

use heapless::Vec;

use crate::MAX_DISCOVERABLE;

/// A place in the store that holds one record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Slot(pub(crate) u16);

#[derive(Clone, Copy, Debug)]
struct Entry {
    rp_prefix: [u8; 4],
    order: u32,
    slot: Slot,
}

/// Relying party, place and age of every discoverable credential, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: Vec<Entry, MAX_DISCOVERABLE>,
}

impl Index {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The order that the next credential gets.
    pub(crate) fn next_order(&self) -> u32 {
        self.entries.last().map_or(0, |entry| entry.order.saturating_add(1))
    }

    /// A slot that is not in use; `None` if the index is full.
    pub(crate) fn free_slot(&self) -> Option<Slot> {
        (0..MAX_DISCOVERABLE as u16)
            .map(Slot)
            .find(|slot| self.entries.iter().all(|entry| entry.slot != *slot))
    }

    /// Adds a credential, or moves the one in this slot to its new place. False if the index is full.
    #[must_use]
    pub(crate) fn insert(&mut self, rp_id_hash: &[u8; 32], slot: Slot, order: u32) -> bool {
        self.remove(slot);
        let at = self.entries.partition_point(|entry| entry.order <= order);
        self.entries.insert(at, Entry { rp_prefix: prefix(rp_id_hash), order, slot }).is_ok()
    }

    pub(crate) fn remove(&mut self, slot: Slot) {
        self.entries.retain(|entry| entry.slot != slot);
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Every slot, oldest first.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.entries.iter().map(|entry| entry.slot)
    }

    /// The slots before a position, oldest first, whose record may belong to this relying party.
    pub(crate) fn slots_before(&self, position: usize, rp_id_hash: &[u8; 32]) -> impl Iterator<Item = Slot> {
        let prefix = prefix(rp_id_hash);
        let entries = self.entries.iter().take(position);
        entries.filter(move |entry| entry.rp_prefix == prefix).map(|entry| entry.slot)
    }

    /// The slots whose record may belong to this relying party, newest first, each with its order. Only the
    /// record tells for sure: four bytes of a hash can agree by chance.
    pub(crate) fn candidates(&self, rp_id_hash: &[u8; 32]) -> impl Iterator<Item = (Slot, u32)> {
        let prefix = prefix(rp_id_hash);
        let entries = self.entries.iter().rev();
        entries.filter(move |entry| entry.rp_prefix == prefix).map(|entry| (entry.slot, entry.order))
    }
}

fn prefix(rp_id_hash: &[u8; 32]) -> [u8; 4] {
    let [a, b, c, d, ..] = *rp_id_hash;
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_first_and_a_replaced_one_is_new() {
        let mut index = Index::default();
        for slot in 0..3 {
            assert!(index.insert(&[1; 32], Slot(slot), index.next_order()));
        }
        assert!(index.insert(&[2; 32], Slot(3), index.next_order()));
        assert!(index.insert(&[1; 32], Slot(0), index.next_order()));
        assert!(index.candidates(&[1; 32]).map(|(slot, _)| slot.0).eq([0, 2, 1]));
        index.remove(Slot(2));
        assert!(index.candidates(&[1; 32]).map(|(slot, _)| slot.0).eq([0, 1]));
        assert_eq!(index.free_slot(), Some(Slot(2)));
    }

    #[test]
    fn full_is_full() {
        let mut index = Index::default();
        for _ in 0..MAX_DISCOVERABLE {
            let slot = index.free_slot().unwrap();
            assert!(index.insert(&[1; 32], slot, index.next_order()));
        }
        assert_eq!(index.free_slot(), None);
    }
}
