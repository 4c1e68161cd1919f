//! One line for monitoring systems (monitoring-plugins.org, "Plugin Output for Nagios").

use crate::health::code::Severity;
use crate::health::{Finding, Thresholds, status};
use crate::observe::survey::{Seen, Survey};
use crate::units::percent;

/// `DMTOOL OK - … | 'docker/thinpool data'=12.5%;80;90;0;100 …`
pub fn line(survey: &Survey, findings: &[Finding], thresholds: Thresholds) -> String {
    let status = status(findings);
    let data: Vec<String> = survey.pools.iter().flat_map(|seen| performance(seen, thresholds)).collect();
    let line = format!("DMTOOL {} - {}", status.word().to_uppercase(), plain(&words(survey, findings)));
    if data.is_empty() { line } else { format!("{line} | {}", data.join(" ")) }
}

fn words(survey: &Survey, findings: &[Finding]) -> String {
    let bad: Vec<&Finding> = findings.iter().filter(|finding| finding.severity > Severity::Info).collect();
    let Some(first) = bad.first() else {
        return super::health::all_well(survey);
    };
    let of = first.pool.as_ref().map_or(String::new(), |pool| format!("{pool} "));
    let more = match bad.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    format!("{of}{}: {}{more}", first.code.word(), first.message)
}

/// The bar begins the performance data, and a line ends the output.
fn plain(text: &str) -> String {
    text.replace('|', "/").replace(['\n', '\r'], " ")
}

fn performance(seen: &Seen, thresholds: Thresholds) -> Vec<String> {
    let Some(figures) = seen.pool.figures() else { return Vec::new() };
    let one = |what: &str, used: u64, total: u64| {
        // A label in quotes; a quote within is doubled.
        let label = plain(&format!("{} {what}", seen.pool.name)).replace('\'', "''").replace('=', "-");
        let (warn, crit) = (thresholds.warn, thresholds.crit);
        format!("'{label}'={:.1}%;{warn};{crit};0;100", percent(used, total))
    };
    vec![
        one("data", figures.data_used.0, figures.data_total.0),
        one("metadata", figures.metadata_used.0, figures.metadata_total.0),
    ]
}
