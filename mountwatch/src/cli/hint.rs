//! What else may have been meant.

/// `, but NAME` with the most similar of the names, if one is similar at all.
pub(super) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> String {
    let wanted = wanted.to_ascii_uppercase();
    let nearest = names.map(|name| (strsim::damerau_levenshtein(&wanted, name), name)).min();
    match nearest {
        Some((distance, name)) if distance <= 2 && distance < name.len() => format!(", but {name}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let names = ["TARGET", "SOURCE", "ID"];
        let check = |wanted: &str, expected: &str| {
            assert_eq!(nearest(wanted, names.into_iter()), expected, "{wanted}");
        };
        check("targte", ", but TARGET");
        check("SORCE", ", but SOURCE");
        check("TARGETS", ", but TARGET");
        check("OPTIONS", "");
        check("IDD", ", but ID");
        check("X", "");
    }
}
