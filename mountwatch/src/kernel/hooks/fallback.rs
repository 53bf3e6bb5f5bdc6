//! What takes the place of a hook that is attached and does not fire. Pure.

use hashbrown::HashSet;
use mountwatch_common::hook::Hook;

use super::{FALLBACKS, Features, HOOKS, Missing, Step, step, ways};

/// What can be attached in place of a hook: the other functions of its rows, then its
/// [`FALLBACKS`].
///
/// `attached`: functions that are watched for this hook already.
pub fn others(
    features: &Features,
    hook: Hook,
    attached: &HashSet<&str>,
    no_fentry: bool,
) -> Vec<Step> {
    HOOKS
        .iter()
        .chain(FALLBACKS)
        .filter(|row| row.hook == hook)
        .filter_map(|row| {
            let mut ways = ways(features, row, no_fentry);
            ways.retain(|way| !attached.contains(way.candidate.function));
            (!ways.is_empty()).then(|| step(features, row, ways))
        })
        .collect()
}

/// What the index is blind to without a hook, if it can be an index at all.
pub fn blind_without(hook: Hook) -> Option<&'static str> {
    HOOKS.iter().filter(|row| row.hook == hook).find_map(|row| match row.missing {
        Missing::Blind(sentence) => Some(sentence),
        Missing::Refuse | Missing::Nothing => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mountwatch_common::{hook, offset};

    #[test]
    fn what_is_not_attached_takes_its_place() {
        let functions: HashSet<_> =
            ["free_mnt_ns", "mnt_ns_tree_remove", "copy_tree", "graft_tree"].into_iter().collect();
        let features = Features {
            offsets: [0; offset::COUNT],
            symbols: functions.clone(),
            functions,
            is_preemptible: false,
            nop_idmap: 0,
        };
        let names = |hook, attached: &[&str]| -> Vec<_> {
            others(&features, hook, &attached.iter().copied().collect(), false)
                .into_iter()
                .filter_map(|step| Some(step.ways.first()?.candidate.function))
                .collect()
        };
        assert_eq!(names(hook::NAMESPACE_GONE, &["free_mnt_ns"]), ["mnt_ns_tree_remove"]);
        assert_eq!(names(hook::COPY_TREE, &["copy_tree"]), [""; 0]);
        assert_eq!(names(hook::ATTACH, &["make_visible"]), ["copy_tree", "graft_tree"]);
    }

    #[test]
    fn fallbacks_are_of_hooks_of_the_table() {
        for fallback in FALLBACKS {
            assert!(HOOKS.iter().any(|row| row.hook == fallback.hook));
            assert!(!fallback.candidates.is_empty() && !fallback.reason.is_empty());
        }
        assert!(blind_without(hook::RENAME).unwrap().contains("old name"));
        assert_eq!(blind_without(hook::COMMIT), None);
    }
}
