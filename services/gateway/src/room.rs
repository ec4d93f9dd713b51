//! What all that is being received may take of this process's memory, whichever door it comes by.
//! Whoever finds no room is told to come back.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::{Kind, Problem};

/// What memory is counted in.
const UNIT: usize = 1_024;

#[derive(Clone)]
pub(crate) struct Room(Arc<Semaphore>);

impl Room {
    pub(crate) fn of(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / UNIT)))
    }
}

/// The room that one body or message takes; given back when it is dropped.
#[derive(Default)]
pub(crate) struct Held(Option<OwnedSemaphorePermit>);

impl Held {
    /// Has room for `bytes` in all: by their sum, because many small pieces take no more than a
    /// large one.
    pub(crate) fn grow(&mut self, room: &Room, bytes: usize) -> Result<(), Problem> {
        let held = self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let units = bytes.div_ceil(UNIT).saturating_sub(held);
        if units == 0 {
            return Ok(());
        }
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let more = Arc::clone(&room.0).try_acquire_many_owned(units).map_err(|_| {
            Problem::new(Kind::Unavailable, "Too much is being received at the moment.")
        })?;
        match &mut self.0 {
            Some(held) => held.merge(more),
            None => self.0 = Some(more),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted_by_its_sum_and_given_back() {
        let room = Room::of(3 * UNIT);
        let free = || room.0.available_permits();
        let mut one = Held::default();
        for (bytes, left) in [(0, 3), (1, 2), (UNIT, 2), (UNIT + 1, 1)] {
            one.grow(&room, bytes).unwrap();
            assert_eq!(free(), left, "{bytes} bytes");
        }
        let mut other = Held::default();
        assert_eq!(other.grow(&room, 2 * UNIT).unwrap_err().kind, Kind::Unavailable);
        assert_eq!(free(), 1, "a refusal takes nothing");
        drop(one);
        other.grow(&room, 3 * UNIT).unwrap();
        assert_eq!(free(), 0);
    }
}
