//! The names that somebody may have meant.

/// At most this many suggestions.
const MOST: usize = 3;

/// The candidates nearest to `wanted`, best first: few edits apart, or the same letters in another case, or the same
/// last segment.
pub fn nearest<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let limit = (wanted.chars().count() / 3).clamp(1, 5);
    let mut scored: Vec<(usize, &str)> = candidates
        .into_iter()
        .filter_map(|candidate| distance(wanted, candidate, limit).map(|score| (score, candidate)))
        .collect();
    scored.sort_unstable();
    scored.dedup();
    scored.into_iter().take(MOST).map(|(_, name)| name.to_owned()).collect()
}

fn distance(wanted: &str, candidate: &str, limit: usize) -> Option<usize> {
    if wanted.eq_ignore_ascii_case(candidate) {
        return Some(0);
    }
    // Lengths alone say that more edits are needed: the common case, and a cheap one.
    let edits = if wanted.len().abs_diff(candidate.len()) > 4 * limit {
        usize::MAX
    } else {
        strsim::damerau_levenshtein(wanted, candidate)
    };
    if edits <= limit {
        return Some(edits);
    }
    let last = |name: &str| name.rsplit('/').next().map(str::to_owned);
    (wanted.contains('/') != candidate.contains('/') && last(wanted) == last(candidate)).then_some(limit + 1)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_typos_case_and_forgotten_paths() {
        let names = ["db/password", "db/user", "API_KEY", "mail/token"];
        assert_eq!(nearest("db/pasword", names), ["db/password"]);
        assert_eq!(nearest("api_key", names), ["API_KEY"]);
        assert_eq!(nearest("token", names), ["mail/token"]);
        assert!(nearest("unrelated", names).is_empty());
    }
}
