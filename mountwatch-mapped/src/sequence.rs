//! The sequence lock: readers see whole changes, and never hold up the writer.
//!
//! All words are atomic, so a torn read is a wrong value, never undefined behaviour. Why it holds
//! (Boehm, "Can seqlocks get along with programming language memory models?", 2012):
//!
//! * The writer makes the sequence odd, then a release fence, then stores words. A reader that reads
//!   one of those words and then passes its acquire fence synchronizes with that fence, so its second
//!   load of the sequence gives the odd number or a later one: not what it began with.
//! * The writer stores the even number with release after all words. A reader that begins with that
//!   number (acquire) sees at least those words. With the first point: exactly those.
//!
//! `a_reader_sees_both_words_of_a_change_or_none` tries every interleaving and every value that the
//! memory model allows.

use std::sync::atomic::Ordering;

/// What the lock needs of a word. One for std's atomics and one, in tests, for a model's.
pub(crate) trait Word {
    /// Loads it.
    fn load(&self, ordering: Ordering) -> u64;
    /// Stores it.
    fn store(&self, value: u64, ordering: Ordering);
    /// A fence of the same world.
    fn fence(ordering: Ordering);
}

impl Word for std::sync::atomic::AtomicU64 {
    fn load(&self, ordering: Ordering) -> u64 {
        self.load(ordering)
    }

    fn store(&self, value: u64, ordering: Ordering) {
        self.store(value, ordering);
    }

    fn fence(ordering: Ordering) {
        std::sync::atomic::fence(ordering);
    }
}

/// The one writer begins a change. The sequence that it gives is to be passed to [`end_write`].
pub(crate) fn begin_write<W: Word>(sequence: &W) -> u64 {
    // A writer that died in a change left an odd number; nobody else writes.
    let odd = sequence.load(Ordering::Relaxed) | 1;
    sequence.store(odd, Ordering::Relaxed);
    W::fence(Ordering::Release);
    odd
}

/// The change is whole.
pub(crate) fn end_write<W: Word>(sequence: &W, odd: u64) {
    sequence.store(odd.wrapping_add(1), Ordering::Release);
}

/// A reader begins; `None` while a change is being written.
pub(crate) fn begin_read<W: Word>(sequence: &W) -> Option<u64> {
    let begin = sequence.load(Ordering::Acquire);
    (begin & 1 == 0).then_some(begin)
}

/// Whether everything that was read (relaxed) since [`begin_read`] belongs together.
pub(crate) fn end_read<W: Word>(sequence: &W, begin: u64) -> bool {
    W::fence(Ordering::Acquire);
    sequence.load(Ordering::Relaxed) == begin
}

#[cfg(test)]
mod tests {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicU64;

    impl Word for AtomicU64 {
        fn load(&self, ordering: Ordering) -> u64 {
            self.load(ordering)
        }

        fn store(&self, value: u64, ordering: Ordering) {
            self.store(value, ordering);
        }

        fn fence(ordering: Ordering) {
            loom::sync::atomic::fence(ordering);
        }
    }

    /// Two changes of two words each and a reader: every execution.
    fn run(is_whole: fn(&AtomicU64, u64) -> bool) {
        loom::model(move || {
            let shared = Arc::new([AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)]);
            let writer = {
                let shared = Arc::clone(&shared);
                loom::thread::spawn(move || {
                    for value in 1..=2 {
                        let odd = begin_write(&shared[0]);
                        shared[1].store(value, Ordering::Relaxed);
                        shared[2].store(value, Ordering::Relaxed);
                        end_write(&shared[0], odd);
                    }
                })
            };
            if let Some(begin) = begin_read(&shared[0]) {
                let first = shared[1].load(Ordering::Relaxed);
                let second = shared[2].load(Ordering::Relaxed);
                if is_whole(&shared[0], begin) {
                    assert_eq!((first, second), (begin / 2, begin / 2));
                }
            }
            writer.join().unwrap();
        });
    }

    #[test]
    fn a_reader_sees_both_words_of_a_change_or_none() {
        run(end_read);
    }

    /// The model can fail: without the second look at the sequence it does.
    #[test]
    #[should_panic(expected = "left == right")]
    fn without_the_second_look_a_reader_sees_halves() {
        run(|_, _| true);
    }
}
