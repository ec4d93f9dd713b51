//! A hash map that is cheap to clone and, after that, cheap to change.
//!
//! Entries stand in **shards** of about [`SHARD`] entries, each shared until it is changed. A clone copies one pointer
//! a shard; a change to a clone copies one shard, and the entry. So a snapshot with one rule more costs microseconds,
//! however many rules there are, and lookups remain those of a flat hash table.

use std::sync::Arc;

use hashbrown::HashTable;

/// Shards are split when they have more entries than this, on average: copying one is then about as dear as copying the
/// list of shards of a map of a million.
const SHARD: usize = 128;

#[derive(Clone, Debug)]
pub(crate) struct CowMap<T> {
    /// None, or a power of two of them.
    shards: Vec<Arc<Shard<T>>>,
    len: usize,
}

/// With its hash, so that nobody must be able to compute it again.
type Shard<T> = HashTable<(u64, Arc<T>)>;

impl<T> Default for CowMap<T> {
    fn default() -> Self {
        Self { shards: Vec::new(), len: 0 }
    }
}

impl<T> CowMap<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub(crate) fn find(&self, hash: u64, is: impl Fn(&T) -> bool) -> Option<&T> {
        let shard = self.shards.get(self.place(hash))?;
        shard.find(hash, |(known, entry)| *known == hash && is(entry)).map(|(_, entry)| &**entry)
    }

    /// Each that was put under this hash.
    #[inline]
    pub(crate) fn all(&self, hash: u64) -> impl Iterator<Item = &T> {
        let shard = self.shards.get(self.place(hash));
        let found = shard.into_iter().flat_map(move |shard| shard.iter_hash(hash));
        found.filter(move |(known, _)| *known == hash).map(|(_, entry)| &**entry)
    }

    /// The same, handed over one by one, which is quicker.
    #[inline]
    pub(crate) fn each<'m>(&'m self, hash: u64, mut hand: impl FnMut(&'m T)) {
        let Some(shard) = self.shards.get(self.place(hash)) else { return };
        for (known, entry) in shard.iter_hash(hash) {
            if *known == hash {
                hand(entry);
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.shards.iter().flat_map(|shard| shard.iter()).map(|(_, entry)| &**entry)
    }

    /// The table itself takes the lowest and the highest bits.
    fn place(&self, hash: u64) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "32 bits are more shards than there will be"
        )]
        let bits = (hash >> 24) as u32 as usize;
        bits & self.shards.len().wrapping_sub(1)
    }

    pub(crate) fn heap_bytes(&self, entry: impl Fn(&T) -> usize) -> usize {
        // A table has a slot and a control byte for each of its capacity's 8/7.
        let slots: usize = self.shards.iter().map(|shard| shard.capacity() * 8 / 7).sum();
        let tables = slots * (size_of::<(u64, Arc<T>)>() + 1);
        let shards = self.shards.len() * (size_of::<Shard<T>>() + COUNTS + size_of::<usize>());
        tables
            + shards
            + self.iter().map(|known| size_of::<T>() + COUNTS + entry(known)).sum::<usize>()
    }
}

/// What an `Arc` adds to what is in it.
pub(crate) const COUNTS: usize = 2 * size_of::<usize>();

impl<T: Clone> CowMap<T> {
    /// The entry, to be changed; made if there is none.
    pub(crate) fn change(
        &mut self,
        hash: u64,
        is: impl Fn(&T) -> bool,
        make: impl FnOnce() -> T,
    ) -> &mut T {
        if self.find(hash, &is).is_none() {
            self.grow();
            let place = self.place(hash);
            let shard = Arc::make_mut(&mut self.shards[place]);
            shard.insert_unique(hash, (hash, Arc::new(make())), |(hash, _)| *hash);
            self.len += 1;
        }
        let place = self.place(hash);
        let shard = Arc::make_mut(&mut self.shards[place]);
        let found = shard.find_mut(hash, |(known, entry)| *known == hash && is(entry));
        let (_, entry) = found.expect("found or inserted above");
        Arc::make_mut(entry)
    }

    pub(crate) fn remove(&mut self, hash: u64, is: impl Fn(&T) -> bool) -> Option<Arc<T>> {
        self.find(hash, &is)?;
        let place = self.place(hash);
        let shard = Arc::make_mut(&mut self.shards[place]);
        let found = shard.find_entry(hash, |(known, entry)| *known == hash && is(entry)).ok()?;
        let ((_, entry), _) = found.remove();
        self.len -= 1;
        if self.len == 0 {
            self.shards = Vec::new();
        }
        Some(entry)
    }

    fn grow(&mut self) {
        if self.shards.is_empty() {
            self.shards.push(Arc::default());
        }
        if self.len < SHARD * self.shards.len() {
            return;
        }
        let mut grown = Self { shards: vec![Arc::default(); self.shards.len() * 2], len: self.len };
        for (hash, entry) in self.shards.iter().flat_map(|shard| shard.iter()) {
            let place = grown.place(*hash);
            let shard = Arc::make_mut(&mut grown.shards[place]);
            shard.insert_unique(*hash, (*hash, Arc::clone(entry)), |(hash, _)| *hash);
        }
        *self = grown;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worst hash that still tells most apart.
    fn hash(key: u64) -> u64 {
        key.wrapping_mul(0x9E37_79B9_7F4A_7C15) & !0xFF
    }

    #[test]
    fn a_clone_keeps_what_it_had() {
        let mut map: CowMap<(u64, u64)> = CowMap::default();
        for key in 0..10_000 {
            map.change(hash(key), |(known, _)| *known == key, || (key, 0)).1 = key;
        }
        let before = map.clone();
        for key in (0..10_000).step_by(3) {
            assert!(map.remove(hash(key), |(known, _)| *known == key).is_some());
            assert!(map.remove(hash(key), |(known, _)| *known == key).is_none());
        }
        for key in (1..10_000).step_by(3) {
            map.change(hash(key), |(known, _)| *known == key, || (key, 0)).1 += 1;
        }
        assert_eq!(before.len(), 10_000);
        for key in 0..10_000 {
            let find = |map: &CowMap<(u64, u64)>| {
                map.find(hash(key), |(known, _)| *known == key).map(|(_, value)| *value)
            };
            assert_eq!(find(&before), Some(key));
            let after = match key % 3 {
                0 => None,
                1 => Some(key + 1),
                _ => Some(key),
            };
            assert_eq!(find(&map), after);
        }
        assert_eq!(map.iter().count(), map.len());
    }
}
