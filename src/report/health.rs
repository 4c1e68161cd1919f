//! Findings as people read them.

use super::told::{Told, ToldPool};
use super::{Voice, clean_line, page as pool_page};
use crate::health::code::{Code, Severity};
use crate::health::pages::{Page, of};
use crate::health::proof::Point;
use crate::health::{Finding, status};
use crate::observe::survey::Survey;
use std::fmt::Write;

const WIDTH: usize = 78;

/// The findings of `check`, the pools that have none, and what it comes to.
pub fn text(told: &Told, voice: Voice) -> String {
    let findings = &told.findings;
    let mut text = String::new();
    for finding in findings {
        let of = clean_line(finding.pool.as_deref().unwrap_or("this host"));
        let word = voice.paint(color(finding.severity), &format!("{:<8}", finding.severity.word()), false);
        let _ = writeln!(text, "{word}  {of}  {}", finding.code.word());
        let _ = writeln!(text, "{}", filled(&finding.message, 4));
        if let Some(hint) = &finding.hint {
            let _ = writeln!(text, "    hint: {}", clean_line(hint));
        }
    }
    for pool in &told.pools {
        let mine = |finding: &&Finding| finding.pool.as_deref() == Some(&pool.name);
        if findings.iter().filter(mine).all(|finding| finding.severity == Severity::Info) {
            let word = voice.paint("32", "ok      ", false);
            let _ = writeln!(text, "{word}  {}  {}", clean_line(&pool.name), pool_line(pool));
        }
    }
    let count = |severity: Severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let well = told.pools.len();
    if status(findings).exit() == 0 {
        text.push_str(&all_well(told));
    } else {
        let counts: Vec<String> = [Severity::Critical, Severity::Unknown, Severity::Warning]
            .iter()
            .filter(|severity| count(**severity) > 0)
            .map(|severity| format!("{} {}", count(*severity), severity.word()))
            .collect();
        let _ = write!(text, "{} in {}; see dmtool explain CODE", counts.join(", "), pools(well));
    }
    text
}

fn pools(count: usize) -> String {
    match count {
        1 => "1 pool".to_owned(),
        count => format!("{count} pools"),
    }
}

fn color(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "1;31",
        Severity::Warning => "1;33",
        Severity::Unknown => "1;35",
        Severity::Info => "36",
    }
}

/// All is well, or there is nothing.
pub fn all_well(told: &Told) -> String {
    match told.pools.as_slice() {
        [] => "no pools here".to_owned(),
        [_] => "1 pool is healthy".to_owned(),
        pools => format!("{} pools are healthy", pools.len()),
    }
}

/// How full a pool is, and whether it will extend itself.
fn pool_line(pool: &ToldPool) -> String {
    let mut parts = Vec::new();
    if let (Some(data), Some(metadata)) = (pool.data.percent, pool.metadata.percent) {
        parts.push(format!("data {data:.1}%, metadata {metadata:.1}%"));
    }
    parts.extend(pool.notes.iter().map(|note| clean_line(note)));
    parts.join(&format!("\n{:10}", ""))
}

/// The sick pools as `zpool status -x` shows them: what is wrong, what to do, where more stands.
pub fn sick(survey: &Survey, findings: &[Finding]) -> String {
    let bad: Vec<&Finding> = findings.iter().filter(|finding| finding.severity > Severity::Info).collect();
    if bad.is_empty() {
        return if survey.pools.is_empty() { "no pools here".to_owned() } else { "all pools are healthy".to_owned() };
    }
    let mut names: Vec<Option<&str>> = Vec::new();
    for finding in &bad {
        if !names.contains(&finding.pool.as_deref()) {
            names.push(finding.pool.as_deref());
        }
    }
    let blocks = names.iter().map(|name| {
        let state = survey.pools.iter().find(|seen| Some(seen.pool.name.as_str()) == *name);
        let mut block = format!("  pool: {}\n", name.unwrap_or("(this host)"));
        if let Some(seen) = state {
            let _ = writeln!(block, " state: {}", pool_page::state(&seen.pool));
        }
        for finding in bad.iter().filter(|finding| finding.pool.as_deref() == *name) {
            let _ = writeln!(block, "status: {}", filled(&finding.message, 8).trim_start());
            if let Some(hint) = &finding.hint {
                let _ = writeln!(block, "action: {hint}");
            }
            let _ = writeln!(block, "   see: dmtool explain {}", finding.code.word());
        }
        block
    });
    blocks.collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

/// Whether a pool extends itself, and each thing that this takes.
pub fn proof(pool: &str, points: &[Point]) -> String {
    let all = points.iter().all(|point| point.holds);
    let mut text = format!("{pool} {}", if all { "extends itself" } else { "will NOT extend itself" });
    for point in points {
        let mark = if point.holds { "yes" } else { "NO " };
        let _ = write!(text, "\n  {mark}  {:<10}  {}", point.what, point.how);
    }
    text
}

/// Every code, a line each.
pub fn codes() -> String {
    let line = |code: &Code| format!("{:<24}  {:<8}  {}", code.word(), code.severity().word(), of(*code).title);
    Code::ALL.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The page of a code.
pub fn page(code: Code, page: &Page) -> String {
    format!(
        "{} ({})\n{}\n\nWhat it means\n{}\n\nIf nothing is done\n{}\n\nWhat to do\n{}",
        code.word(),
        code.severity().word(),
        page.title,
        filled(page.meaning, 4),
        filled(page.otherwise, 4),
        filled(page.remedy, 4)
    )
}

/// A paragraph in lines of at most 78 columns, each behind this many blanks. A word that is longer stands alone.
pub fn filled(text: &str, indent: usize) -> String {
    let text = clean_line(text);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let full = |line: &String| !line.is_empty() && indent + line.chars().count() + 1 + word.chars().count() > WIDTH;
        if lines.last().is_some_and(full) {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.iter().map(|line| format!("{:indent$}{line}", "")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_fit_a_terminal() {
        for code in Code::ALL {
            let text = page(*code, &of(*code));
            let long: Vec<&str> = text.lines().filter(|line| line.chars().count() > 80).collect();
            assert!(long.is_empty(), "{long:?}");
        }
        assert!(codes().lines().all(|line| line.chars().count() <= 100));
    }
}
