//! Who is configured for a pool, Docker and containerd, against the pools that are here.

use super::code::Code;
use super::{Finding, Outcome};
use crate::names::{LvmName, means};
use crate::observe::consumers::Consumer;
use crate::observe::survey::Survey;

/// A pool that is configured and nowhere, and one that both are configured for.
pub(super) fn consumers(survey: &Survey) -> Outcome {
    let consumers = survey.consumers.as_ref().map_err(Clone::clone)?;
    let mut found: Vec<Finding> = survey
        .pools
        .iter()
        .filter_map(|seen| {
            let (name, names) = (&seen.pool.name, seen.pool.dm_names());
            let of_pool: Vec<&Consumer> = consumers.iter().filter(|one| means(&one.pool, name, &names)).collect();
            twice(name, &of_pool)
        })
        .collect();
    let nowhere: Vec<&Consumer> = consumers.iter().filter(|one| is_nowhere(one, survey)).collect();
    found.extend(nowhere.iter().map(|one| missing(one)));
    if let [first, second] = nowhere.as_slice()
        && device_name(first) == device_name(second)
    {
        found.extend(twice(bare(first), &nowhere));
    }
    Ok(found)
}

/// The name as it is configured, without the folder of a device.
fn bare(consumer: &Consumer) -> &str {
    let pool = consumer.pool.as_str();
    pool.strip_prefix("/dev/mapper/").or(pool.strip_prefix("/dev/")).unwrap_or(pool)
}

fn device_name(consumer: &Consumer) -> String {
    let bare = bare(consumer);
    LvmName::parse(bare).map_or_else(|_| bare.to_owned(), |name| name.dm_name())
}

/// Whether this look would have seen the pool, and nobody knows it: neither the kernel, nor LVM, nor the register. What
/// LVM or the register know has a finding of its own while it is down.
fn is_nowhere(consumer: &Consumer, survey: &Survey) -> bool {
    // Docker makes it when it starts.
    if consumer.makes_it || survey.lvm.is_err() || survey.register.is_err() {
        return false;
    }
    let is_it = |name: &str, names: &[String]| means(&consumer.pool, name, names);
    let of_lvm = |name: &str| LvmName::parse(name).map(|name| name.dm_name()).into_iter().collect::<Vec<_>>();
    let asked = survey.all || survey.unknown.iter().any(|asked| means(asked, bare(consumer), &[device_name(consumer)]));
    asked
        && !survey.pools.iter().any(|seen| is_it(&seen.pool.name, &seen.pool.dm_names()))
        && !survey.unread.iter().flat_map(|group| &group.pools).any(|name| is_it(name, &of_lvm(name)))
}

fn missing(consumer: &Consumer) -> Finding {
    let Consumer { name, file, .. } = consumer;
    let pool = bare(consumer);
    Finding {
        code: Code::PoolInactive,
        severity: Code::PoolInactive.severity(),
        pool: Some(pool.to_owned()),
        message: format!(
            "{name} is configured for {pool} ({file}), and it is not there: the kernel does not have it, and nobody here \
             knows on what it stood. Have what made it make it again, or name another pool in {file}."
        ),
        hint: Some("dmtool explain pool-inactive".to_owned()),
    }
}

fn twice(pool: &str, consumers: &[&Consumer]) -> Option<Finding> {
    let [first, second] = consumers else { return None };
    Some(Finding {
        code: Code::PoolClaimedTwice,
        severity: Code::PoolClaimedTwice.severity(),
        pool: Some(pool.to_owned()),
        message: format!(
            "{} ({}) and {} ({}) are configured for the same pool: each numbers its volumes by its own books, and may \
             take or delete the other's.",
            first.name, first.file, second.name, second.file
        ),
        hint: Some("dmtool explain pool-claimed-twice".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{HEALTHY, bare as bare_pool, live, survey};
    use super::super::{Severity, Thresholds, findings};
    use super::*;
    use crate::observe::Unseen;
    use crate::observe::lvm::Lvm;

    fn consumer(name: &'static str, pool: &str) -> Consumer {
        Consumer { name, file: format!("/etc/{name}"), pool: pool.to_owned(), makes_it: false }
    }

    fn told(survey: &Survey) -> Vec<(&'static str, Severity, Option<String>)> {
        let found = findings(survey, Thresholds::default());
        found.into_iter().map(|found| (found.code.word(), found.severity, found.pool)).collect()
    }

    #[test]
    fn a_pool_that_is_configured_and_nowhere() {
        let with = |consumers: Vec<Consumer>| Survey { consumers: Ok(consumers), ..survey(Vec::new()) };
        let gone = |pool: &str| ("pool-inactive", Severity::Critical, Some(pool.to_owned()));
        let one = with(vec![consumer("containerd", "devpool")]);
        assert_eq!(told(&one), [gone("devpool")]);
        let found = findings(&one, Thresholds::default());
        assert!(found[0].message.contains("/etc/containerd"), "{found:?}");
        assert_eq!(told(&with(vec![consumer("Docker", "/dev/mapper/vg-pool")])), [gone("vg-pool")]);
        assert_eq!(told(&with(Vec::new())), []);
        // Docker makes this one itself.
        let made = Consumer { makes_it: true, ..consumer("Docker", "docker-thinpool") };
        assert_eq!(told(&with(vec![made])), []);
        // Another pool was asked for.
        assert_eq!(told(&Survey { all: false, ..one.clone() }), []);
        let asked = Survey { all: false, unknown: vec!["/dev/mapper/devpool".to_owned()], ..one.clone() };
        assert!(told(&asked).contains(&gone("devpool")));
        // What LVM may know and did not tell is no missing pool.
        let unseen = || Unseen("it did not answer".to_owned());
        for hidden in [Survey { lvm: Err(unseen()), ..one.clone() }, Survey { register: Err(unseen()), ..one.clone() }]
        {
            assert!(!told(&hidden).contains(&gone("devpool")));
            assert!(told(&hidden).iter().all(|(code, ..)| *code == "could-not-look"));
        }
        assert_eq!(told(&Survey { lvm: Ok(None), ..one.clone() }), [gone("devpool")], "a host without LVM");
        let unread = Survey { consumers: Err(unseen()), lvm: Ok(Some(Lvm::default())), ..one };
        assert_eq!(told(&unread), [("could-not-look", Severity::Unknown, None)]);
    }

    #[test]
    fn two_for_one_pool() {
        let both = |one: &str, other: &str| vec![consumer("Docker", one), consumer("containerd", other)];
        let claimed = |pool: &str| ("pool-claimed-twice", Severity::Critical, Some(pool.to_owned()));
        let up = || survey(vec![bare_pool(live(HEALTHY, ""))]);
        let shared = Survey { consumers: Ok(both("/dev/mapper/bare-pool", "bare-pool")), ..up() };
        assert_eq!(told(&shared), [claimed("bare-pool")]);
        assert_eq!(told(&Survey { consumers: Ok(both("bare-pool", "bare-pool").split_off(1)), ..up() }), []);
        // Neither is there, and two names are one.
        let nowhere = Survey { consumers: Ok(both("/dev/docker/thinpool", "docker-thinpool")), ..survey(Vec::new()) };
        assert!(told(&nowhere).contains(&claimed("docker/thinpool")), "{:?}", told(&nowhere));
    }
}
