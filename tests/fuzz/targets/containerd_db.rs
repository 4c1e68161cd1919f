#![no_main]

dmtool_fuzz::target!(containerd_db);
