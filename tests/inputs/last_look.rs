//! The look that was kept, for `dmtool check --last`.

use super::{assert_plain, reports, text};
use dmtool::commands::last::judge;
use dmtool::health::status;
use dmtool::report::clean;
use dmtool::report::told::Made;
use serde_json::Value;

const LONGEST: u64 = 300;

/// Judged at the time that it says it was made, and later.
pub fn last_look(data: &[u8]) {
    let text = text(data);
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    let number = |key: &str| value[key].as_u64().unwrap_or(1000);
    let now = Made { seconds: number("looked_at"), uptime: number("looked_at_uptime") };
    let late = Made { seconds: now.seconds.saturating_add(LONGEST + 1), ..now };
    assert!(judge(&text, late, LONGEST).is_err() || late.seconds == u64::MAX, "too old, and told all the same");
    let mut last = match judge(&text, now, LONGEST) {
        Err(problem) => {
            assert!(problem.hint.is_some() && !problem.causes.is_empty());
            return problem.causes.iter().for_each(|cause| assert_plain(&clean(cause)));
        }
        Ok(last) => last,
    };
    assert_eq!((last.age, last.exit()), (0, status(&last.told.findings).exit()));
    reports::again(&last.told);
    reports::as_json(&last.json);
    // As it is typed a path means the name behind it.
    let names = last.told.pools.iter().map(|pool| pool.name.clone()).filter(|name| !name.starts_with("/dev/"));
    let names: Vec<String> = names.take(4).collect();
    let exit = last.exit();
    // A name that is longer than all that stands there.
    last.choose(&[names.clone(), vec!["x".repeat(text.len() + 1)]].concat());
    // What is left out can make it better, but one that is not there is unknown at least.
    assert!(last.exit() >= 2 && (last.exit() == 3 || exit == 2), "{exit} became {}", last.exit());
    assert!(last.told.pools.len() >= names.len());
    reports::again(&last.told);
    reports::as_json(&last.json);
}
