//! `dmtool check --last`: the look that was made last, for those who may not look themselves. What is not surely a look
//! of root's, and of now, is no look: then nobody knows how the pools are.

use crate::exit::{Kind, Problem};
use crate::health::code::{Code, Severity};
use crate::health::{self, Finding, Status};
use crate::observe::samples;
use crate::report::json;
use crate::report::told::{Made, Told};
use crate::sys::file;
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where systemd/dmtool-check.service leaves it.
const PATH: &str = "/run/dmtool/check.json";
const HINT: &str = "systemctl enable --now dmtool-check.timer";

/// A look that is told again.
#[derive(Debug)]
pub struct Last {
    pub told: Told,
    pub json: Value,
    /// In seconds.
    pub age: u64,
}

/// What a file must say besides.
#[derive(Deserialize)]
struct Head {
    command: String,
    status: Status,
    looked_at: u64,
    looked_at_uptime: u64,
}

/// This moment.
pub fn now() -> Made {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Made { seconds, uptime: samples::now() }
}

/// The last look at these pools (none means all), no older than this many seconds.
///
/// # Errors
/// There is none that can be believed.
pub fn read(names: &[String], max_age: u64) -> Result<Last, Problem> {
    let text = file::read_roots(Path::new(PATH))
        .map_err(|why| Problem::from_error(Kind::Refused, "the last look cannot be read", &why).hint(HINT))?
        .ok_or_else(|| unusable("no look was kept since the boot", format!("there is no {PATH}")))?;
    let mut last = judge(&text, now(), max_age)?;
    if !names.is_empty() {
        last.choose(names);
    }
    Ok(last)
}

fn unusable(message: impl Into<String>, cause: impl Into<String>) -> Problem {
    Problem { causes: vec![cause.into()], ..Problem::new(Kind::Refused, message).hint(HINT) }
}

/// A look from the text of its file, at a moment.
///
/// # Errors
/// It cannot be believed.
pub fn judge(text: &str, now: Made, max_age: u64) -> Result<Last, Problem> {
    let broken = |why: serde_json::Error| unusable("the last look cannot be understood", format!("{PATH}: {why}"));
    let json: Value = serde_json::from_str(text).map_err(broken)?;
    let format = json.get("dmtool").and_then(Value::as_u64);
    if format != Some(json::FORMAT) {
        let format = format.map_or("none".to_owned(), |format| format.to_string());
        let cause = format!("the format of {PATH} is {format}, and this dmtool reads {}", json::FORMAT);
        return Err(unusable("the last look was left by another version of dmtool", cause));
    }
    let head: Head = serde_json::from_value(json.clone()).map_err(broken)?;
    let told: Told = serde_json::from_value(json.clone()).map_err(broken)?;
    if head.command != "check" || head.status != health::status(&told.findings) {
        return Err(unusable("the last look cannot be understood", format!("{PATH} contradicts itself")));
    }
    // Two clocks, since one of them may have been set.
    let ages = now.seconds.checked_sub(head.looked_at).zip(now.uptime.checked_sub(head.looked_at_uptime));
    let Some((by_clock, by_uptime)) = ages else {
        let cause = format!("{PATH} is of a later time than now, so that the clock was set, or the file is foreign");
        return Err(unusable("the last look is from the future", cause));
    };
    let age = by_clock.max(by_uptime);
    if age > max_age {
        let cause = format!("what writes {PATH} does not run, or does not come to its end");
        return Err(unusable(format!("the last look was {age} seconds ago, more than {max_age}"), cause));
    }
    Ok(Last { told, json, age })
}

impl Last {
    /// The exit status of the look, or of what is left of it.
    pub fn exit(&self) -> u8 {
        health::status(&self.told.findings).exit()
    }

    /// Leaves out what is said of other pools.
    pub fn choose(&mut self, names: &[String]) {
        for name in self.told.only(names) {
            self.told.findings.push(Finding {
                code: Code::CouldNotLook,
                severity: Severity::Unknown,
                pool: Some(name.clone()),
                message: format!("There was no pool {name} on this host at the last look."),
                hint: Some("dmtool status".to_owned()),
            });
        }
        self.told.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let kept = |pool: &Value| self.told.pools.iter().any(|kept| Some(kept.name.as_str()) == pool["name"].as_str());
        let Some(fields) = self.json.as_object_mut() else { return };
        fields.insert("status".to_owned(), serde_json::json!(health::status(&self.told.findings)));
        fields.insert("findings".to_owned(), serde_json::json!(self.told.findings));
        if let Some(pools) = fields.get_mut("pools").and_then(Value::as_array_mut) {
            pools.retain(kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Made = Made { seconds: 1_000_000, uptime: 5000 };

    fn file() -> Value {
        serde_json::json!({
            "dmtool": 1, "command": "check", "status": "warning",
            "findings": [{"code": "not-monitored", "severity": "warning", "pool": "docker/thinpool", "message": "It is not.", "hint": null}],
            "pools": [
                {"name": "docker/thinpool", "kind": "lvm", "dm_name": "docker-thinpool", "data": {"percent": 12.5},
                 "metadata": {"percent": 1.0}, "notes": ["extends at 80% by 20%"]},
                {"name": "down", "kind": "loop", "dm_name": null, "data": {"percent": null}, "metadata": {"percent": null}, "notes": []},
            ],
            "looked_at": 999_958, "looked_at_uptime": 4958, "thresholds": {"warn": 80, "crit": 90},
        })
    }

    fn judged(change: impl FnOnce(&mut Value)) -> Result<Last, Problem> {
        let mut value = file();
        change(&mut value);
        judge(&value.to_string(), NOW, 300)
    }

    #[test]
    fn a_look_is_told_again_with_its_status_and_age() {
        let last = judged(|_| ()).expect("a look");
        assert_eq!((last.exit(), last.age, last.told.pools.len()), (1, 42, 2));
        assert_eq!(judge(&file().to_string(), NOW, 42).expect("a look").age, 42);
    }

    #[test]
    fn what_is_no_look_of_now_is_never_fine() {
        type Change = fn(&mut Value);
        let changes: [(Change, &str); 15] = [
            (|value| value["looked_at"] = 999_699.into(), "301 seconds ago, more than 300"),
            (|value| value["looked_at_uptime"] = 4699.into(), "301 seconds ago, more than 300"),
            (|value| value["looked_at"] = 1_000_001.into(), "from the future"),
            (|value| value["looked_at_uptime"] = 5001.into(), "from the future"),
            (|value| value["looked_at"] = (-1).into(), "cannot be understood"),
            (|value| value["looked_at"] = Value::Null, "cannot be understood"),
            (|value| value["dmtool"] = 2.into(), "another version"),
            (|value| *value = serde_json::json!([]), "another version"),
            (|value| value["command"] = "status".into(), "cannot be understood"),
            (|value| value["status"] = "ok".into(), "cannot be understood"),
            (|value| value["findings"] = Value::Null, "cannot be understood"),
            (|value| value["findings"][0]["code"] = "all-is-well".into(), "cannot be understood"),
            (|value| value["findings"][0]["severity"] = "fine".into(), "cannot be understood"),
            (|value| value["pools"][0]["name"] = Value::Null, "cannot be understood"),
            (|value| value["thresholds"] = Value::Null, "cannot be understood"),
        ];
        for (change, said) in changes {
            let problem = judged(change).expect_err(said);
            assert!(problem.message.contains(said), "{said}: {problem:?}");
            assert!(!problem.causes.is_empty() && problem.hint.as_deref() == Some(HINT), "{problem:?}");
        }
        for text in ["", "{", "null", file().to_string().split_at(200).0] {
            assert!(judge(text, NOW, 300).is_err(), "{text}");
        }
    }

    #[test]
    fn one_pool_of_a_look() {
        let mut last = judged(|_| ()).expect("a look");
        last.choose(&["down".to_owned()]);
        assert_eq!(
            (last.exit(), &last.json["status"], &last.json["findings"]),
            (0, &"ok".into(), &Value::Array(vec![]))
        );
        assert_eq!(last.json["pools"].as_array().map(Vec::len), Some(1));
        last.choose(&["docker/thinpool".to_owned()]);
        assert_eq!((last.exit(), &last.json["status"]), (3, &"unknown".into()), "what was left out is not there");
    }
}
