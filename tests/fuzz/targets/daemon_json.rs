#![no_main]

dmtool_fuzz::target!(daemon_json);
