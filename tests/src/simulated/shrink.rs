//! Delta debugging: the smallest part of a list that still fails.

/// Takes chunks away, large ones first, as long as what is left fails.
pub(crate) fn shrink<T: Clone>(items: &[T], mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut left = items.to_vec();
    let mut chunk = left.len() / 2;
    while chunk > 0 {
        let mut at = 0;
        let mut is_smaller = false;
        while at < left.len() {
            let mut candidate = left[..at].to_vec();
            candidate.extend_from_slice(&left[left.len().min(at + chunk)..]);
            if fails(&candidate) {
                left = candidate;
                is_smaller = true;
            } else {
                at += chunk;
            }
        }
        if !is_smaller || chunk > 1 {
            chunk /= 2;
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_is_left() {
        let items: Vec<u32> = (0..100).collect();
        let fails = |items: &[u32]| items.contains(&7) && items.contains(&77);
        assert_eq!(shrink(&items, fails), [7, 77]);
        assert_eq!(shrink(&items, |items| items.len() > 4).len(), 5);
    }
}
