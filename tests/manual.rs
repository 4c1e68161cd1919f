//! The manual pages in man/ are made from the same source as the help: `make man` writes them, this test pins them.
#![allow(clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use dmtool::cli;
use dmtool::health::code::Code;
use dmtool::health::pages as explained;
use std::fmt::Write;
use std::fs;
use std::path::Path;

const FILES: &str = "\
.SH FILES
.TP
\\fI/etc/lvm/profile/VG\\-LV.profile\\fR
The autoextension settings of one pool, written by \\fBdmtool setup\\fR.
.TP
\\fI/var/lib/dmtool/pools/NAME.json\\fR
The register: what a loop pool or a bare table stands on, and its volumes, for \\fBdmtool activate\\fR to bring them back.
.TP
\\fI/var/lib/dmtool/NAME\\fR
The files of a loop pool, with a copy of its register.
.TP
\\fI/var/lib/dmtool/teardown/*.json\\fR
A teardown that was begun, with the disks of its group, until it is done.
.TP
\\fI/run/dmtool.lock\\fR
Held by a dmtool that changes something; it goes with its process.
.TP
\\fI/etc/docker/daemon.json\\fR
What \\fBdmtool configure docker\\fR changes; as it was before, it stays beside as \\fIdaemon.json.before\\-dmtool\\fR.
.TP
\\fI/etc/containerd/config.toml\\fR
What \\fBdmtool configure containerd\\fR changes, in the same way.
.TP
\\fI/run/dmtool/use.json\\fR
How full the pools were at the last look, for \\fBdmtool check\\fR to say when they will be full.
.TP
\\fI/run/dmtool/check.json\\fR
What \\fIdmtool\\-check.timer\\fR found last, which \\fBdmtool check \\-\\-last\\fR tells.
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

const CHECK_EXIT: &str = "\
.SH EXIT STATUS
.TP
\\fB0\\fR
Every pool is well, or there is none.
.TP
\\fB1\\fR
Warning.
.TP
\\fB2\\fR
Critical.
.TP
\\fB3\\fR
Unknown: a check could not look, or a named pool is not there, or there is no look to be told by \\fB\\-\\-last\\fR; and
wrong usage.
";

/// Every code of check, with its title.
fn codes() -> String {
    let mut text = ".SH CODES\nWhat a code means and what to do: \\fBdmtool explain CODE\\fR.\n".to_owned();
    for code in Code::ALL {
        let (word, severity) = (code.word().replace('-', "\\-"), code.severity().word());
        let _ = write!(text, ".TP\n\\fB{word}\\fR ({severity})\n{}.\n", explained::of(*code).title.replace('-', "\\-"));
    }
    text
}

/// What each page shows, by its verb.
const EXAMPLES: [(&str, &str); 32] = [
    (
        "setup",
        ".SH EXAMPLES\n.EX\ndmtool setup /dev/xvdf \\-\\-dry\\-run\ndmtool setup /dev/xvdf\n\
         dmtool setup /dev/sdb /dev/sdc \\-\\-pool fast/pool \\-\\-data 75%VG\ndmtool setup \\-\\-loop\ndmtool setup /dev/xvdf \\-\\-for docker \\-\\-restart\n.EE\n",
    ),
    (
        "resize",
        ".SH EXAMPLES\n.EX\ndmtool resize 200GB\ndmtool resize +20% docker/thinpool \\-\\-dry\\-run\n\
         dmtool resize docker/thinpool \\-\\-add\\-device /dev/xvdg\ndmtool resize docker/thinpool \\-\\-metadata +1G\n.EE\n",
    ),
    ("status", ".SH EXAMPLES\n.EX\ndmtool status\ndmtool status docker/thinpool\ndmtool status \\-\\-json\n.EE\n"),
    (
        "check",
        ".SH EXAMPLES\n.EX\ndmtool check\ndmtool check docker/thinpool \\-\\-warn 70 \\-\\-crit 85\n\
         dmtool check \\-\\-nagios\ndmtool check \\-\\-last \\-\\-nagios\ndmtool check \\-\\-metadata\ndmtool explain data\\-nearly\\-full\n.EE\n",
    ),
    (
        "autoextend",
        ".SH EXAMPLES\n.EX\ndmtool autoextend docker/thinpool\n\
         dmtool autoextend docker/thinpool \\-\\-threshold 70 \\-\\-percent 10\ndmtool autoextend docker/thinpool \\-\\-off\n.EE\n",
    ),
    (
        "discards",
        ".SH EXAMPLES\n.EX\ndmtool discards docker/thinpool\ndmtool discards docker/thinpool no_passdown\n.EE\n",
    ),
    (
        "metrics",
        ".SH EXAMPLES\n.EX\ndmtool metrics\n\
         dmtool metrics \\-\\-output /var/lib/prometheus/node\\-exporter/dmtool.prom\n.EE\n",
    ),
    ("volume", ".SH EXAMPLES\n.EX\ndmtool volume list\ndmtool volume create loop web 10G \\-\\-fs ext4\n.EE\n"),
    (
        "volume list",
        ".SH EXAMPLES\n.EX\ndmtool volume list\ndmtool volume list docker/thinpool \\-\\-sort exclusive\n.EE\n",
    ),
    (
        "volume show",
        ".SH EXAMPLES\n.EX\ndmtool volume show docker/thinpool web\ndmtool volume show docker/thinpool id:7 \\-\\-exact\n.EE\n",
    ),
    ("volume snapshot", ".SH EXAMPLES\n.EX\ndmtool volume snapshot vg/pool web before\\-upgrade\n.EE\n"),
    ("volume mount", ".SH EXAMPLES\n.EX\ndmtool volume mount vg/pool before\\-upgrade /mnt\n.EE\n"),
    ("volume unmount", ".SH EXAMPLES\n.EX\ndmtool volume unmount vg/pool before\\-upgrade\n.EE\n"),
    (
        "volume orphans",
        ".SH EXAMPLES\n.EX\ndmtool volume orphans docker/thinpool\ndmtool volume orphans docker/thinpool \\-\\-remove\n.EE\n",
    ),
    ("volume recycle", ".SH EXAMPLES\n.EX\ndmtool volume recycle docker/thinpool \\-\\-dry\\-run\n.EE\n"),
    ("volume remove", ".SH EXAMPLES\n.EX\ndmtool volume remove vg/pool before\\-upgrade\n.EE\n"),
    (
        "volume create",
        ".SH EXAMPLES\n.EX\ndmtool volume create loop web 10G \\-\\-fs ext4\nmount /dev/mapper/loop\\-web /srv\n.EE\n",
    ),
    ("volume trim", ".SH EXAMPLES\n.EX\ndmtool volume trim loop\ndmtool volume trim loop web id:7\n.EE\n"),
    (
        "repair",
        ".SH EXAMPLES\n.EX\ndmtool repair docker/thinpool \\-\\-dry\\-run\ndmtool repair docker/thinpool \\-\\-backup\\-dir /srv/backup\n\
         dmtool repair docker/thinpool \\-\\-accept\n.EE\n",
    ),
    (
        "metadata",
        ".SH EXAMPLES\n.EX\ndmtool metadata check docker/thinpool\ndmtool metadata dump docker/thinpool /root/thinpool.xml\n.EE\n",
    ),
    ("metadata check", ".SH EXAMPLES\n.EX\ndmtool metadata check docker/thinpool \\-\\-json\n.EE\n"),
    (
        "metadata dump",
        ".SH EXAMPLES\n.EX\ndmtool metadata dump docker/thinpool /root/thinpool.xml\ndmtool metadata dump loop | head\n.EE\n",
    ),
    ("metadata restore", ".SH EXAMPLES\n.EX\ndmtool metadata restore docker/thinpool /root/thinpool.xml\n.EE\n"),
    ("watch", ".SH EXAMPLES\n.EX\ndmtool watch\ndmtool watch \\-\\-interval 10\n.EE\n"),
    (
        "configure",
        ".SH EXAMPLES\n.EX\ndmtool configure docker docker/thinpool \\-\\-dry\\-run\ndmtool configure docker docker/thinpool \\-\\-restart\n.EE\n",
    ),
    (
        "configure docker",
        ".SH EXAMPLES\n.EX\ndmtool configure docker docker/thinpool \\-\\-restart\n\
         dmtool configure docker vg\\-docker/data \\-\\-base\\-size 20G\n.EE\n",
    ),
    (
        "configure containerd",
        ".SH EXAMPLES\n.EX\ndmtool configure containerd docker/thinpool \\-\\-restart\n\
         dmtool configure containerd docker/thinpool \\-\\-base\\-size 20G \\-\\-default\n.EE\n",
    ),
    (
        "teardown",
        ".SH EXAMPLES\n.EX\ndmtool teardown docker/thinpool \\-\\-dry\\-run\n\
         dmtool teardown docker/thinpool \\-\\-wipe\\-devices\n.EE\n",
    ),
    ("explain", ".SH EXAMPLES\n.EX\ndmtool explain\ndmtool explain needs\\-check\n.EE\n"),
    (
        "activate",
        ".SH EXAMPLES\n.EX\ndmtool activate docker/thinpool\ndmtool activate \\-\\-all \\-\\-wait 30\n\
         dmtool activate rawpool \\-\\-remember\n.EE\n",
    ),
    ("deactivate", ".SH EXAMPLES\n.EX\ndmtool deactivate docker/thinpool\n.EE\n"),
    ("completions", ".SH EXAMPLES\n.EX\ndmtool completions bash > /etc/bash_completion.d/dmtool\n.EE\n"),
];

fn pages() -> Vec<(String, String)> {
    let mut command = cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = vec![(command.get_name().to_owned(), render(&command, ""))];
    for verb in command.get_subcommands() {
        let name = verb.get_name();
        pages.push(page(name, verb));
        pages.extend(verb.get_subcommands().map(|second| page(&format!("{name} {}", second.get_name()), second)));
    }
    pages
}

/// The page of a verb of one word or two, and its name.
fn page(name: &str, verb: &clap::Command) -> (String, String) {
    let example = EXAMPLES.iter().find(|(of, _)| *of == name);
    let (_, example) = example.unwrap_or_else(|| panic!("dmtool {name} has no EXAMPLES"));
    let title = format!("dmtool-{}", name.replace(' ', "-"));
    let verb =
        verb.clone().display_name(title.clone()).bin_name(format!("dmtool {name}")).disable_help_subcommand(true);
    (title, render(&verb, example))
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
    let (exit, codes) = if command.get_name() == "check" { (CHECK_EXIT, codes()) } else { (EXIT, String::new()) };
    format!(
        "{body}{codes}{examples}{exit}{FILES}.SH SEE ALSO\n\\fBdmtool\\fR(8), \\fBlvmthin\\fR(7), \\fBdmeventd\\fR(8)\n"
    )
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
