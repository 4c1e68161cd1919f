//! One line for monitoring systems (monitoring-plugins.org, "Plugin Output for Nagios").

use super::told::{Told, ToldPool};
use crate::health::code::Severity;
use crate::health::{Finding, Thresholds, status};

/// `DMTOOL OK - … | 'docker/thinpool data'=12.5%;80;90;0;100 …`
pub fn line(told: &Told) -> String {
    let status = status(&told.findings);
    let data: Vec<String> = told.pools.iter().flat_map(|pool| performance(pool, told.thresholds)).collect();
    let line = format!("DMTOOL {} - {}", status.word().to_uppercase(), plain(&words(told)));
    if data.is_empty() { line } else { format!("{line} | {}", data.join(" ")) }
}

/// Nobody knows how the pools are, for this reason.
pub fn unknown(why: &str) -> String {
    format!("DMTOOL UNKNOWN - {}", plain(why))
}

fn words(told: &Told) -> String {
    let bad: Vec<&Finding> = told.findings.iter().filter(|finding| finding.severity > Severity::Info).collect();
    let Some(first) = bad.first() else {
        return super::health::all_well(told);
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

fn performance(pool: &ToldPool, thresholds: Thresholds) -> Vec<String> {
    let (Some(data), Some(metadata)) = (pool.data.percent, pool.metadata.percent) else { return Vec::new() };
    let one = |what: &str, percent: f64| {
        // A label in quotes; a quote within is doubled.
        let label = plain(&format!("{} {what}", pool.name)).replace('\'', "''").replace('=', "-");
        let (warn, crit) = (thresholds.warn, thresholds.crit);
        format!("'{label}'={percent:.1}%;{warn};{crit};0;100")
    };
    vec![one("data", data), one("metadata", metadata)]
}
