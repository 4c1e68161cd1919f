//! The manual pages in man/ are made from the same source as the help: `make man` writes them, this test pins them.
#![allow(clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use dmtool::cli;
use std::fs;
use std::path::Path;

const FILES: &str = "\
.SH FILES
.TP
\\fI/etc/lvm/profile/VG\\-LV.profile\\fR
The autoextension settings of one pool, written by \\fBdmtool setup\\fR.
.TP
\\fI/run/dmtool.lock\\fR
Held by a dmtool that changes something; it goes with its process.
";
const EXIT: &str = "\
.SH EXIT STATUS
.TP
\\fB0\\fR
Done, or nothing to do.
.TP
\\fB1\\fR
Failed part\\-way; the message says what was done and what to run next.
.TP
\\fB2\\fR
Wrong usage.
.TP
\\fB3\\fR
Refused; nothing was changed.
.TP
\\fB130\\fR
Interrupted between two steps; running it again goes on.
";

/// What each page shows, by its verb.
const EXAMPLES: [(&str, &str); 5] = [
    (
        "setup",
        ".SH EXAMPLES\n.EX\ndmtool setup /dev/xvdf \\-\\-dry\\-run\ndmtool setup /dev/xvdf\n\
         dmtool setup /dev/sdb /dev/sdc \\-\\-pool fast/pool \\-\\-data 75%VG\n.EE\n",
    ),
    ("status", ".SH EXAMPLES\n.EX\ndmtool status\ndmtool status docker/thinpool\ndmtool status \\-\\-json\n.EE\n"),
    ("activate", ".SH EXAMPLES\n.EX\ndmtool activate docker/thinpool\ndmtool activate \\-\\-all \\-\\-wait 30\n.EE\n"),
    ("deactivate", ".SH EXAMPLES\n.EX\ndmtool deactivate docker/thinpool\n.EE\n"),
    ("completions", ".SH EXAMPLES\n.EX\ndmtool completions bash > /etc/bash_completion.d/dmtool\n.EE\n"),
];

fn pages() -> Vec<(String, String)> {
    let mut command = cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = vec![(command.get_name().to_owned(), render(&command, ""))];
    for verb in command.get_subcommands() {
        let name = verb.get_name().to_owned();
        let example = EXAMPLES.iter().find(|(of, _)| *of == name);
        let (_, example) = example.unwrap_or_else(|| panic!("dmtool-{name}(8) has no EXAMPLES"));
        let title = format!("dmtool-{name}");
        let verb = verb.clone().display_name(title.clone()).bin_name(format!("dmtool {name}"));
        pages.push((title, render(&verb, example)));
    }
    pages
}

fn render(command: &clap::Command, examples: &str) -> String {
    let mut page = Vec::new();
    let manual = clap_mangen::Man::new(command.clone()).section("8").source("dmtool").manual("System administration");
    manual.render_title(&mut page).expect("a page");
    manual.render_name_section(&mut page).expect("a page");
    manual.render_synopsis_section(&mut page).expect("a page");
    manual.render_description_section(&mut page).expect("a page");
    manual.render_options_section(&mut page).expect("a page");
    if command.has_subcommands() {
        manual.render_subcommands_section(&mut page).expect("a page");
    }
    let body = String::from_utf8(page).expect("text");
    format!("{body}{examples}{EXIT}{FILES}.SH SEE ALSO\n\\fBdmtool\\fR(8), \\fBlvmthin\\fR(7), \\fBdmeventd\\fR(8)\n")
}

#[test]
fn the_committed_pages_are_the_helps() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    for (name, page) in pages() {
        let path = folder.join(format!("{name}.8"));
        if std::env::var_os("DMTOOL_WRITE_MAN").is_some() {
            fs::create_dir_all(&folder).and_then(|()| fs::write(&path, &page)).expect("writing a page");
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == page, "{} is not what the help says: run `make man`", path.display());
    }
}
