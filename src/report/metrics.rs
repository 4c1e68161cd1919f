//! Prometheus' text format (prometheus.io, "Exposition formats"; names by its "Metric and label naming").

use crate::health::code::Severity;
use crate::health::{Finding, status};
use crate::observe::pools::Pool;
use crate::observe::profile::NEVER;
use crate::observe::survey::Survey;
use crate::observe::thin::Mode;
use crate::units::Bytes;
use std::fmt::Write;

type Labels<'a> = Vec<(&'a str, String)>;

/// A family of metrics: its name, what it means, and its samples.
struct Family<'a> {
    name: &'a str,
    help: &'a str,
    samples: Vec<(Labels<'a>, String)>,
}

/// All metrics of a survey. What could not be read has no sample.
pub fn text(survey: &Survey, findings: &[Finding]) -> String {
    let mut text = String::new();
    for family in host(survey, findings).into_iter().chain(pools(survey)) {
        if family.samples.is_empty() {
            continue;
        }
        let _ = writeln!(text, "# HELP {} {}\n# TYPE {} gauge", family.name, family.help, family.name);
        for (labels, value) in &family.samples {
            let labels: Vec<String> =
                labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(text, "{}{labels} {value}", family.name);
        }
    }
    text
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn host<'a>(survey: &Survey, findings: &[Finding]) -> Vec<Family<'a>> {
    let of = |finding: &Finding| {
        vec![
            ("pool", finding.pool.clone().unwrap_or_default()),
            ("code", finding.code.word().to_owned()),
            ("severity", finding.severity.word().to_owned()),
        ]
    };
    let mut found: Vec<(Labels<'a>, String)> = Vec::new();
    for finding in findings {
        let labels = of(finding);
        // One sample for each set of labels: two volumes may have the same finding.
        match found.iter_mut().find(|(other, _)| *other == labels) {
            Some((_, count)) => *count = (count.parse().unwrap_or(1_u64) + 1).to_string(),
            None => found.push((labels, "1".to_owned())),
        }
    }
    let looked = !findings.iter().any(|finding| finding.severity == Severity::Unknown);
    let build = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    let one = |name, help, value: String| Family { name, help, samples: vec![(Vec::new(), value)] };
    vec![
        Family {
            name: "dmtool_build_info",
            help: "The dmtool that made these.",
            samples: vec![(build, "1".to_owned())],
        },
        // None at all is a figure only where somebody could look.
        Family {
            name: "dmtool_pools",
            help: "Thin pools on this host.",
            samples: survey.kernel.iter().map(|()| (Vec::new(), survey.pools.len().to_string())).collect(),
        },
        one(
            "dmtool_check_status",
            "What dmtool check says: 0 ok, 1 warning, 2 critical, 3 unknown.",
            status(findings).exit().to_string(),
        ),
        one("dmtool_check_complete", "Whether every check could look.", u8::from(looked).to_string()),
        Family { name: "dmtool_findings", help: "Findings of dmtool check, by pool and code.", samples: found },
    ]
}

/// A figure of a pool, absent where the pool has none.
type Figure = fn(&Pool) -> Option<u64>;

const FIGURES: [(&str, &str, Figure); 15] = [
    ("dmtool_pool_active", "Whether the pool is in the kernel.", |pool| Some(u64::from(pool.live.is_some()))),
    ("dmtool_pool_suspended", "Whether the pool is suspended.", |pool| Some(u64::from(pool.live.as_ref()?.suspended))),
    ("dmtool_pool_data_size_bytes", "Size of the pool's data.", |pool| {
        let (figures, chunk) = (pool.figures()?, chunk(pool)?);
        Some(figures.data_total.bytes(chunk).0)
    }),
    ("dmtool_pool_data_used_bytes", "Data that is handed out.", |pool| {
        let (figures, chunk) = (pool.figures()?, chunk(pool)?);
        Some(figures.data_used.bytes(chunk).0)
    }),
    ("dmtool_pool_metadata_size_bytes", "Size of the pool's metadata.", |pool| {
        Some(pool.figures()?.metadata_total.bytes().0)
    }),
    ("dmtool_pool_metadata_used_bytes", "Metadata in use.", |pool| Some(pool.figures()?.metadata_used.bytes().0)),
    ("dmtool_pool_chunk_size_bytes", "Size of a block of data.", |pool| Some(chunk(pool)?.0)),
    ("dmtool_pool_volumes", "Active thin volumes.", |pool| pool.live.as_ref()?.volumes.as_ref().ok().copied()),
    ("dmtool_pool_needs_check", "Whether the kernel asks for a check.", |pool| {
        Some(u64::from(pool.figures()?.needs_check))
    }),
    ("dmtool_pool_metadata_snapshot_held", "Whether a metadata snapshot is held.", |pool| {
        Some(u64::from(pool.figures()?.held_root.is_some()))
    }),
    ("dmtool_pool_transaction_id", "The pool's transaction id.", |pool| Some(pool.figures()?.transaction_id)),
    ("dmtool_pool_autoextend_enabled", "Whether the pool extends itself by its settings.", |pool| {
        Some(u64::from(pool.lvm.as_ref()?.autoextend.as_ref().ok()?.threshold < NEVER))
    }),
    ("dmtool_pool_monitored", "Whether dmeventd watches the pool.", |pool| {
        pool.live.as_ref()?;
        Some(u64::from(pool.lvm.as_ref()?.is_watched()?))
    }),
    ("dmtool_pool_extensions_left", "Extensions that the volume group has room for.", |pool| {
        let lvm = pool.lvm.as_ref()?;
        Some(lvm.extensions_left(pool.figures(), *lvm.autoextend.as_ref().ok()?))
    }),
    ("dmtool_pool_volume_group_free_bytes", "What is free in the pool's volume group.", |pool| {
        let row = &pool.lvm.as_ref()?.row;
        Some(row.vg_free_count.saturating_mul(row.vg_extent_size))
    }),
];

fn chunk(pool: &Pool) -> Option<Bytes> {
    pool.live.as_ref()?.chunk()
}

fn pools(survey: &Survey) -> Vec<Family<'static>> {
    let name = |pool: &Pool| ("pool", pool.name.clone());
    let all = || survey.pools.iter().map(|seen| &seen.pool);
    let mut families = vec![
        Family {
            name: "dmtool_pool_info",
            help: "A thin pool, its kind and its device.",
            samples: all()
                .map(|pool| {
                    let device = pool.live.as_ref().map_or(String::new(), |live| live.dm_name.clone());
                    (vec![name(pool), ("kind", pool.kind.word().to_owned()), ("dm_name", device)], "1".to_owned())
                })
                .collect(),
        },
        Family {
            name: "dmtool_pool_mode",
            help: "The mode that the kernel has the pool in: 1 for the one it is.",
            samples: all().flat_map(modes).collect(),
        },
    ];
    families.extend(FIGURES.iter().map(|(metric, help, figure)| Family {
        name: metric,
        help,
        samples: all().filter_map(|pool| Some((vec![name(pool)], figure(pool)?.to_string()))).collect(),
    }));
    families
}

fn modes(pool: &Pool) -> Vec<(Labels<'static>, String)> {
    let Some(now) = pool.mode() else { return Vec::new() };
    [Mode::Rw, Mode::Ro, Mode::OutOfDataSpace, Mode::Fail]
        .into_iter()
        .map(|mode| {
            let labels = vec![("pool", pool.name.clone()), ("mode", super::json::mode_word(mode).to_owned())];
            (labels, u8::from(mode == now).to_string())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What promtool would complain of: a unit that is none, a counter's suffix on a gauge, no help.
    #[test]
    fn names_by_the_rules() {
        for (name, help, _) in FIGURES {
            assert!(name.starts_with("dmtool_pool_") && !name.ends_with("_total"), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
            assert!(help.ends_with('.') && !help.contains('\n'), "{help}");
        }
    }

    #[test]
    fn labels_are_escaped() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
