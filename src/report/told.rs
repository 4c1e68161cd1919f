//! What a look came to, as far as it is told: the same whether it was made just now or is read from a file.

use crate::health::{Finding, Look, Thresholds, proof, space};
use crate::names::{LvmName, layer_over, means};
use crate::observe::metadata::Verdict;
use crate::observe::survey::{Seen, Survey};
use crate::units::percent;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// All that `check` prints of a look, but for its JSON. Its parts have the names that they have there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    pub findings: Vec<Finding>,
    pub pools: Vec<ToldPool>,
    pub thresholds: Thresholds,
}

/// A pool of a look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToldPool {
    pub name: String,
    dm_name: Option<String>,
    pub data: Use,
    pub metadata: Use,
    /// What is worth knowing of a pool that is well.
    pub notes: Vec<String>,
}

/// How full a part of a pool is; none where that is not known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Use {
    pub percent: Option<f64>,
}

impl Told {
    pub fn of(survey: &Survey, findings: &[Finding], thresholds: Thresholds) -> Told {
        let pool = |seen: &Seen| {
            let figures = seen.pool.figures();
            ToldPool {
                name: seen.pool.name.clone(),
                dm_name: seen.pool.live.as_ref().map(|live| live.dm_name.clone()),
                data: Use { percent: figures.map(|figures| percent(figures.data_used.0, figures.data_total.0)) },
                metadata: Use {
                    percent: figures.map(|figures| percent(figures.metadata_used.0, figures.metadata_total.0)),
                },
                notes: notes(&Look { survey, seen, thresholds }),
            }
        };
        Told { findings: findings.to_vec(), pools: survey.pools.iter().map(pool).collect(), thresholds }
    }

    /// The object of `check` with all that is needed to tell of this look later.
    pub fn kept(&self, check: &Value, made: Made) -> Value {
        let mut object = check.clone();
        let Some(fields) = object.as_object_mut() else { return object };
        fields.insert("looked_at".to_owned(), json!(made.seconds));
        fields.insert("looked_at_uptime".to_owned(), json!(made.uptime));
        fields.insert("thresholds".to_owned(), json!(self.thresholds));
        if let Some(pools) = fields.get_mut("pools").and_then(Value::as_array_mut) {
            for (pool, told) in pools.iter_mut().filter_map(Value::as_object_mut).zip(&self.pools) {
                pool.insert("notes".to_owned(), json!(told.notes));
            }
        }
        object
    }

    /// Keeps these pools alone, what is said of them and of the whole host; the names that none answers to.
    pub fn only(&mut self, names: &[String]) -> Vec<String> {
        let known = |name: &&String| {
            self.pools.iter().any(|pool| pool.answers_to(name))
                || self
                    .findings
                    .iter()
                    .any(|finding| finding.pool.as_deref().is_some_and(|of| means(name, of, &[""; 0])))
        };
        let unknown = names.iter().filter(|name| !known(name)).cloned().collect();
        self.pools.retain(|pool| names.iter().any(|name| pool.answers_to(name)));
        let kept = &self.pools;
        self.findings.retain(|finding| match &finding.pool {
            None => true,
            Some(of) => names.iter().any(|name| means(name, of, &[""; 0])) || kept.iter().any(|pool| pool.name == *of),
        });
        unknown
    }
}

/// When a look was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// Since 1970, by the clock.
    pub seconds: u64,
    /// Since the boot, which no setting of the clock changes.
    pub uptime: u64,
}

impl ToldPool {
    /// Whether what the operator typed means this pool.
    pub fn answers_to(&self, typed: &str) -> bool {
        let up = self.dm_name.as_deref().into_iter().flat_map(|name| [name, layer_over(name).unwrap_or(name)]);
        let mut names: Vec<String> = up.map(str::to_owned).collect();
        // One of LVM's has its name while it is down, too.
        names.extend(LvmName::parse(&self.name).ok().map(|name| name.dm_name()));
        means(typed, &self.name, &names)
    }
}

/// Whether it will extend itself, when it is full, what thin_check said.
fn notes(look: &Look<'_>) -> Vec<String> {
    let whole = look.seen.maps == Some(Ok(Verdict::Clean));
    let maps = whole.then(|| "thin_check finds its maps whole".to_owned());
    proof::sentence(look).into_iter().chain(space::soon(look)).chain(maps).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::code::{Code, Severity};

    fn told() -> Told {
        let finding = |code: Code, pool: Option<&str>| Finding {
            code,
            severity: Severity::Warning,
            pool: pool.map(str::to_owned),
            message: "Something is.".to_owned(),
            hint: None,
        };
        let pool = |name: &str, dm_name: &str| ToldPool {
            name: name.to_owned(),
            dm_name: Some(dm_name.to_owned()),
            data: Use { percent: Some(12.5) },
            metadata: Use { percent: Some(1.0) },
            notes: vec!["a note".to_owned()],
        };
        Told {
            findings: vec![
                finding(Code::DmeventdSilent, None),
                finding(Code::NotMonitored, Some("docker/thinpool")),
                finding(Code::NeedsCheck, Some("loop")),
                finding(Code::PoolHalfBuilt, Some("vg/half")),
            ],
            pools: vec![pool("docker/thinpool", "docker-thinpool-tpool"), pool("loop", "loop")],
            thresholds: Thresholds { warn: 70, crit: 85 },
        }
    }

    fn only(names: &[&str]) -> (Vec<String>, Vec<&'static str>, Vec<String>) {
        let mut told = told();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let unknown = told.only(&names);
        let pools = told.pools.into_iter().map(|pool| pool.name).collect();
        (pools, told.findings.iter().map(|finding| finding.code.word()).collect(), unknown)
    }

    #[test]
    fn a_pool_by_any_of_its_names_and_what_is_said_of_the_host() {
        let thinpool = vec!["docker/thinpool".to_owned()];
        for name in ["docker/thinpool", "/dev/docker/thinpool", "docker-thinpool", "/dev/mapper/docker-thinpool-tpool"]
        {
            let expected = (thinpool.clone(), vec!["dmeventd-silent", "not-monitored"], Vec::new());
            assert_eq!(only(&[name]), expected, "{name}");
        }
        assert_eq!(only(&["vg/half"]), (vec![], vec!["dmeventd-silent", "pool-half-built"], vec![]));
        assert_eq!(only(&["loop", "gone"]).2, ["gone"]);
    }

    #[test]
    fn what_is_kept_reads_back() {
        let check = json!({
            "dmtool": 1,
            "findings": told().findings,
            "pools": [
                {"name": "docker/thinpool", "dm_name": "docker-thinpool-tpool", "data": {"percent": 12.5, "used_bytes": 1},
                 "metadata": {"percent": 1.0}},
                {"name": "loop", "dm_name": "loop", "data": {"percent": 12.5}, "metadata": {"percent": 1.0}},
            ],
        });
        let kept = told().kept(&check, Made { seconds: 5, uptime: 6 });
        assert_eq!((&kept["looked_at"], &kept["looked_at_uptime"]), (&json!(5), &json!(6)));
        assert_eq!(serde_json::from_str::<Told>(&kept.to_string()).expect("a look"), told());
    }
}
