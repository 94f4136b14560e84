//! Scanning text without references, beside `memchr` over the same bytes.

use std::hint::black_box;

use memchr::memchr_iter;

use crate::report::{Goal, Report};
use crate::sample::{Effort, pairs};

pub(crate) fn measure(report: &mut Report, effort: Effort) {
    let plain = "key: value with some words, as configuration has them\n".repeat(200_000);
    // Every line has a `$`, as in a template of another tool.
    let dollars = "path: ${HOME}/x  # costs 5$, says nobody of the team\n".repeat(200_000);
    for (what, text) in [("text without `$`", &plain), ("text with two `$` a line", &dollars)] {
        let known = |scheme: &str| matches!(scheme, "secret" | "env" | "file");
        let ours = || {
            black_box(keyfob_core::scan(black_box(text), known));
            Ok(())
        };
        let theirs = || {
            // Each place is looked at, as a scanner must; `count` alone would not stop at them.
            for place in memchr_iter(b'$', black_box(text.as_bytes())) {
                black_box(place);
            }
            Ok(())
        };
        if let Ok((ours, theirs)) = pairs(effort.samples(51), ours, theirs) {
            let title = format!("scan {} MB of {what}", text.len() / 1_000_000);
            report.ratio(&title, "`memchr` over the same bytes", &ours, &theirs, Goal::Ratio(2.0));
        }
    }
}
