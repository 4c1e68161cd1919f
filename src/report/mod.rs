//! The only room that prints: text and JSON on standard output, everything else on standard error.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the room that prints")]

pub mod discards;
pub mod health;
pub mod json;
pub mod metrics;
pub mod nagios;
pub mod page;
pub mod repair;
pub mod table;
pub mod told;
pub mod trim;
pub mod volumes;

use crate::apply::{Event, Status};
use crate::exit::{DONE, Kind, Problem};
use crate::plan::Plan;
use crate::plan::step::Step;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

/// How this run speaks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Voice {
    pub json: bool,
    pub quiet: bool,
    pub verbose: bool,
    pub color: Color,
}

/// What a terminal obeys in place of showing it: control characters, and those that turn the direction of what follows
/// (Unicode Standard Annex #9) or end a line.
fn commands(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A text made safe for a terminal: what commands it never reaches it from foreign names.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if commands(c) && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// As [`clean`], in one line: a name with a line's end in it would have us say what nobody said.
pub fn clean_line(text: &str) -> String {
    let mut joined = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        // What follows a colon is what it announces.
        joined.push_str(if joined.is_empty() {
            ""
        } else if joined.ends_with(':') {
            " "
        } else {
            "; "
        });
        joined.push_str(line);
    }
    clean(&joined)
}

/// JSON escapes the first 32 characters of itself; the others that command a terminal stand in it only within strings.
pub fn escaped(json: &str) -> String {
    let raw = |c: char| commands(c) && c != '\n';
    if !json.contains(raw) {
        return json.to_owned();
    }
    json.chars().map(|c| if raw(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() }).collect()
}

/// The first thing that could not be said, since it could not be written: who asked has no answer then, whatever we did.
static UNWRITTEN: Mutex<Option<std::io::Error>> = Mutex::new(None);

/// Notes where an answer could not be written. A reader that went away (head, less) has what it wanted.
pub fn written(outcome: std::io::Result<()>) {
    // What is kept in memory until the end would fail unseen.
    if let Err(why) = outcome.and_then(|()| std::io::stdout().flush())
        && why.kind() != std::io::ErrorKind::BrokenPipe
    {
        UNWRITTEN.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
    }
}

/// What kept an answer from being written, told once.
pub fn unwritten() -> Option<Problem> {
    let why = UNWRITTEN.lock().unwrap_or_else(PoisonError::into_inner).take()?;
    let problem = Problem::new(Kind::Failed, format!("what there was to say could not be written: {why}"));
    Some(problem.hint("see where standard output goes; what is there now: dmtool status"))
}

impl Voice {
    fn colored(self, terminal: bool) -> bool {
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
                    || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
                terminal && !plain
            }
        }
    }

    pub fn paint(self, code: &str, text: &str, terminal: bool) -> String {
        if self.colored(terminal) { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Whether what is answered reaches a terminal.
    pub fn on_terminal(self) -> bool {
        !self.json && std::io::stdout().is_terminal()
    }

    /// The same voice with its colours decided for standard output: another process that writes for this one has
    /// none.
    #[must_use]
    pub fn settled(self) -> Voice {
        let color = if self.colored(self.on_terminal()) { Color::Always } else { Color::Never };
        Voice { color, ..self }
    }

    /// An answer with colours in it, its parts cleaned already.
    pub fn picture(self, text: &str) {
        written(std::io::stdout().write_all((text.to_owned() + "\n").as_bytes()));
    }

    /// A result for people: standard output, or standard error where that carries JSON.
    pub fn say(self, text: &str) {
        if self.quiet {
            return;
        }
        self.answer(text);
    }

    /// As [`Voice::say`], also when asked to be quiet: the answer to a question.
    pub fn answer(self, text: &str) {
        // In one piece: standard output would be written line by line.
        let text = clean(text) + "\n";
        if self.json {
            let _ = std::io::stderr().write_all(text.as_bytes());
        } else {
            written(std::io::stdout().write_all(text.as_bytes()));
        }
    }

    pub fn warn(self, text: &str) {
        let label = self.paint("1;33", "warning:", std::io::stderr().is_terminal());
        let _ = writeln!(std::io::stderr(), "{label} {}", clean_line(text));
    }

    pub fn json(self, value: &Value) {
        written(writeln!(std::io::stdout(), "{}", escaped(&format!("{value:#}"))));
    }

    /// One object in one line, for a stream of them.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn json_line(self, value: &Value) -> std::io::Result<()> {
        writeln!(std::io::stdout(), "{}", escaped(&value.to_string()))?;
        std::io::stdout().flush()
    }

    /// A place for pictures that follow each other.
    pub fn screen(self) -> Screen {
        Screen { terminal: self.on_terminal(), shown: false }
    }

    pub fn problem(self, problem: &Problem) {
        let terminal = std::io::stderr().is_terminal();
        let mut lines = vec![format!("{} {}", self.paint("1;31", "error:", terminal), clean_line(&problem.message))];
        for cause in &problem.causes {
            lines.push(format!("{} {}", self.paint("1", "caused by:", terminal), clean_line(cause)));
        }
        if let Some(hint) = &problem.hint {
            lines.push(format!("{} {}", self.paint("1;36", "hint:", terminal), clean_line(hint)));
        }
        let _ = writeln!(std::io::stderr(), "{}", lines.join("\n"));
    }

    /// The steps of a plan, numbered, each with its command.
    pub fn plan(self, plan: &Plan, heading: &str) {
        if self.quiet {
            return;
        }
        let mut lines = vec![heading.to_owned()];
        for (at, planned) in plan.steps.iter().enumerate() {
            let already = if planned.already { "   (done already)" } else { "" };
            lines.push(format!("  {}. {}{already}", at + 1, folded(&planned.step)));
        }
        if plan.steps.is_empty() {
            lines.push("  nothing to do".to_owned());
        }
        self.answer(&lines.join("\n"));
    }

    /// Asks on the terminal; the default is No.
    ///
    /// # Errors
    /// The terminal went away.
    pub fn confirm(self, question: &str) -> std::io::Result<bool> {
        dialoguer::Confirm::new()
            .with_prompt(clean_line(question))
            .default(false)
            .wait_for_newline(true)
            .interact()
            .map_err(|dialoguer::Error::IO(why)| why)
    }

    /// Shows the steps of a run as they begin and end: a moving line on a terminal, plain lines otherwise.
    pub fn progress(self) -> Progress {
        let moving = !self.quiet && std::io::stderr().is_terminal();
        Progress { voice: self, bar: moving.then(ProgressBar::new_spinner) }
    }
}

/// That something takes its time, for as long as this is kept.
pub struct Busy(Option<ProgressBar>);

impl Voice {
    /// A moving line on a terminal, nothing elsewhere.
    pub fn busy(self, what: &str) -> Busy {
        if self.quiet || !std::io::stderr().is_terminal() {
            return Busy(None);
        }
        let bar = ProgressBar::new_spinner();
        spin(&bar, what);
        Busy(Some(bar))
    }
}

/// A moving line that says what is being done, and for how long by now.
fn spin(bar: &ProgressBar, what: &str) {
    bar.unset_length();
    bar.set_style(moving("{spinner} {wide_msg} {elapsed}"));
    bar.set_message(clean_line(what));
    // Last: it is shown from here on.
    bar.reset();
    bar.enable_steady_tick(Duration::from_millis(100));
}

fn moving(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Bytes as they are, for scripts that others read.
pub fn raw(bytes: &[u8]) {
    written(std::io::stdout().write_all(bytes));
}

/// What clap says of the command line, with its exit status; as JSON too where that was asked for.
pub fn usage(error: &clap::Error, status: u8) -> u8 {
    let wrong = error.use_stderr();
    if wrong && std::env::args_os().any(|word| word == "--json") {
        let text = error.render().to_string();
        // The first paragraph says what is wrong: a sentence, and where that ends in a colon a list.
        let mut lines = text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim);
        let message = lines.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let mut problem = Problem::new(Kind::Usage, message).hint("see dmtool --help");
        problem.causes.extend(lines.map(str::to_owned));
        Voice { json: true, ..Voice::default() }.json(&json::failure(None, &problem));
    }
    // It repeats words of the command line, and a script may have them from anywhere.
    if std::env::args_os().any(|word| word.to_string_lossy().contains(commands)) {
        let _ = std::io::stderr().write_all(clean(&error.render().to_string()).as_bytes());
    } else {
        written(error.print());
    }
    if wrong { status } else { DONE }
}

/// Whether a question can be asked here.
pub fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Pictures that follow each other: in place on a terminal, one below the other elsewhere.
pub struct Screen {
    terminal: bool,
    shown: bool,
}

impl Screen {
    /// # Errors
    /// Nobody reads any more.
    pub fn show(&mut self, text: &str) -> std::io::Result<()> {
        // Colours are ours; all else that controls a terminal was cleaned away where it came from.
        let mut out = std::io::stdout().lock();
        if self.terminal {
            // Home, then each line with its rest erased, then all below: nothing flickers.
            let lines = text.replace('\n', "\u{1b}[K\n");
            write!(out, "{}\u{1b}[H{lines}\u{1b}[K\n\u{1b}[J", if self.shown { "" } else { "\u{1b}[2J" })?;
        } else {
            writeln!(out, "{}{text}", if self.shown { "\n" } else { "" })?;
        }
        self.shown = true;
        out.flush()
    }
}

pub struct Progress {
    voice: Voice,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub fn show(&self, event: &Event<'_>) {
        match event {
            Event::Begins(step) => {
                if let Some(bar) = &self.bar {
                    spin(bar, &step.command());
                }
            }
            Event::Share(done, of) => {
                if let Some(bar) = &self.bar {
                    if bar.length() != Some(*of) {
                        bar.set_length(*of);
                        bar.set_style(moving("{spinner} {wide_msg} {percent:>3}% {elapsed}"));
                    }
                    bar.set_position(*done);
                }
            }
            Event::Ended(step, status) => {
                if let Some(bar) = &self.bar {
                    bar.disable_steady_tick();
                    bar.finish_and_clear();
                }
                let word = match status {
                    Status::Done => "done",
                    Status::Failed => "failed",
                    Status::NotRun => "not run",
                    Status::Already if self.voice.verbose => "already",
                    Status::Already | Status::Planned => return,
                };
                self.voice.say(&format!("  {word:<8}{}", folded(step)));
            }
        }
    }
}

/// A step's command for a line of its own; what is no command of a shell is left in one piece.
fn folded(step: &Step) -> String {
    let command = clean_line(&step.command());
    if step.lvm_words().is_some() { wrapped(&command) } else { command.replace(" && ", " && \\\n          ") }
}

/// A command folded at 76 columns with a backslash, so that it can still be copied into a shell.
fn wrapped(command: &str) -> String {
    let mut lines: Vec<String> = vec![String::new()];
    for word in command.split(' ') {
        let fold = lines.last().is_some_and(|line| !line.is_empty() && line.len() + word.len() + 1 > 64);
        if fold {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join(" \\\n          ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_long_command_stays_one_command() {
        let command =
            "lvcreate --yes --type thin-pool --name thinpool --extents 4863 --poolmetadatasize 208896k docker";
        let folded = wrapped(command);
        assert!(folded.lines().all(|line| line.len() <= 78), "{folded}");
        assert_eq!(folded.replace("\\\n          ", ""), command);
    }

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\nc"), "a\u{fffd}[31mb\nc");
        assert_eq!(clean_line("a\nerror: b\u{9b}2J\n"), "a; error: b\u{fffd}2J");
        assert_eq!(clean_line("do this:\n  one\n  two"), "do this: one; two");
        // A name that reads backwards names something else.
        assert_eq!(clean("\u{202e}gv\u{2069}ä"), "\u{fffd}gv\u{fffd}ä");
        let name = "\u{1b}]0;x\u{7}\u{85}\u{202e}";
        let json = escaped(&json!({ "name": name }).to_string());
        assert!(json.is_ascii() && !json.contains(char::is_control), "{json}");
        assert_eq!(serde_json::from_str::<Value>(&json).expect("JSON")["name"], name);
    }
}
