//! Room that a burst of changes took and that is not needed any more.
//!
//! A buffer that stays as large as it ever was costs more than itself: an allocator gives back whole
//! pages, of megabytes for large buffers, and each that stays keeps the page where all the others of that
//! burst were.

use hashbrown::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash};

/// Entries for which room is kept in any case.
const KEPT: usize = 1_024;

/// A collection that can give room back.
pub(crate) trait Room {
    /// Gives back what is not used, if that is most of it: three quarters have gone since it was taken, so
    /// that it takes no time to speak of for each entry.
    fn give_back(&mut self);
}

/// The room to keep, if that is much less than there is.
fn kept(len: usize, capacity: usize) -> Option<usize> {
    (capacity > 2 * KEPT && len < capacity / 4).then(|| KEPT.max(2 * len))
}

macro_rules! room {
    ($([$($generics:tt)*] $name:ty;)*) => {$(
        impl<$($generics)*> Room for $name {
            fn give_back(&mut self) {
                if let Some(kept) = kept(self.len(), self.capacity()) {
                    self.shrink_to(kept);
                }
            }
        }
    )*};
}

room! {
    [T] Vec<T>;
    [K: Eq + Hash, V, S: BuildHasher] HashMap<K, V, S>;
    [K: Eq + Hash, S: BuildHasher] HashSet<K, S>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_burst_took_is_given_back_and_what_is_used_stays() {
        let mut list: Vec<u32> = (0..110_000).collect();
        let mut map: HashMap<u32, u32> = list.iter().map(|one| (*one, *one)).collect();
        for len in [90_000_u32, 30_000, 5_000, 2_000, 3, 0] {
            while let Some(one) = list.pop_if(|one| *one >= len) {
                // What is taken out one by one leaves marks, which count as used.
                map.remove(&one);
            }
            list.give_back();
            map.give_back();
            let most = (4 * len as usize).max(2 * KEPT);
            // A table may count half of its free room as used; an entry has eight bytes, and one.
            let bytes_max = 2 * 2 * most * 9;
            assert!(list.capacity() <= most && map.allocation_size() <= bytes_max, "{len}");
            assert!(list.len() == len as usize && map.len() == len as usize);
            assert!((0..len).all(|one| map.get(&one) == Some(&one)));
        }
    }

    #[test]
    fn what_is_small_or_mostly_used_is_left_alone() {
        assert_eq!((kept(0, 2_048), kept(25_001, 100_000)), (None, None));
        assert_eq!((kept(0, 2_049), kept(24_999, 100_000)), (Some(KEPT), Some(49_998)));
    }
}
